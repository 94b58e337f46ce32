/** Checks WGSL with Tint, the compiler of Chrome, on Dawn's null backend: no GPU and no driver needed. */
import { loadDawn, paced } from "./dawn.ts";

export interface WgslMessage {
  readonly type: GPUCompilationMessageType;
  /** From 1; 0 when the message is about no place in particular. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
  readonly message: string;
}

let validator: Promise<{ instance: GPU; device: GPUDevice }> | undefined;

/** Errors, warnings and notes of one WGSL text, every feature that Dawn knows enabled. A valid text gives no message of type "error". */
export async function validateWgsl(text: string): Promise<WgslMessage[]> {
  validator ??= openNull();
  const { device } = await validator;
  return (await compileModule(device, text)).messages;
}

/** Compiles a module; errors come back as messages and raise nothing on the device. */
export async function compileModule(device: GPUDevice, code: string): Promise<{ module: GPUShaderModule; messages: WgslMessage[] }> {
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code });
  const [, info] = await paced(() => Promise.all([device.popErrorScope(), module.getCompilationInfo()]));
  const messages = info.messages.map(({ type, lineNum, linePos, message }) => ({ type, line: lineNum, column: linePos, message }));
  return { module, messages };
}

/** Each message with its place, the line it is about with two lines before it, and a caret; then Tint's details. */
export function showMessages(text: string, messages: readonly WgslMessage[]): string {
  const lines = text.split("\n");
  const show = ({ type, line, column, message }: WgslMessage): string => {
    const [headline, ...details] = message.trimEnd().split("\n");
    const first = Math.max(line - 3, 0);
    const excerpt = lines.slice(first, line).map((source, i) => `${String(first + i + 1).padStart(5)} | ${source}`);
    const caret = line > 0 ? [`      | ${" ".repeat(Math.max(column - 1, 0))}^`] : [];
    return [`${type} at ${line}:${column}: ${headline}`, ...excerpt, ...caret, ...details].join("\n");
  };
  return messages.map(show).join("\n");
}

async function openNull(): Promise<{ instance: GPU; device: GPUDevice }> {
  const dawn = await loadDawn();
  const instance = dawn.create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
  const adapter = await paced(() => instance.requestAdapter());
  if (!adapter) throw new Error("Dawn has no null backend in this build of the webgpu package");
  const device = await paced(() => adapter.requestDevice({ requiredFeatures: [...adapter.features] as GPUFeatureName[] }));
  return { instance, device };
}
