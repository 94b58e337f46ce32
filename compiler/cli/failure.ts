/** How commands end: exit codes, and one clear message for what went wrong. */
import { CommanderError } from "commander";
import { DeviceError } from "../../targets/device.ts";
import { TensorFileError } from "../../trace/tensor.ts";
import { CompileError, format } from "../diagnostics.ts";

export const exitCode = { ok: 0, failed: 1, usage: 2 } as const;
export const exitCodeHelp = `
Exit codes: 0 all is well; 1 what was asked for failed; 2 the command line is wrong; 128 + n ended by signal n.`;

/** What a command was asked to do did not succeed, and nobody's code is at fault. */
export class Failure extends Error {
  override readonly name = "Failure";
  constructor(message: string, hint?: string) {
    super(hint === undefined ? message : `${message}\n  try: ${hint}`);
  }
}

/** A request that cannot be meant, found after the command line was parsed. */
export class UsageError extends Failure {}

/** Says on stderr what happened; the exit code that goes with it. */
export async function report(error: unknown): Promise<number> {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage; // commander has printed it
  console.error(await describeError(error));
  return error instanceof UsageError ? exitCode.usage : exitCode.failed;
}

/** An error as a person wants to read it: with source lines for a mistake in a kernel, with a stack only for a fault of ours. */
export async function describeError(error: unknown): Promise<string> {
  if (error instanceof CompileError) {
    const { sourceText } = await import("../front/index.ts"); // heavy, and loaded already by whoever threw this
    return format(error, sourceText);
  }
  if (error instanceof Failure || error instanceof DeviceError || error instanceof TensorFileError) return error.message;
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `${stack}\n  This is a fault of tokensieve: report it with the command line and the kernel file.`;
}
