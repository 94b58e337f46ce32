import { expect, test } from "vitest";
import { openWebGpu } from "../../../../targets/wgsl/runtime.ts";
import { showMessages, validateWgsl } from "../../../../targets/wgsl/validate.ts";
import { foldKernel } from "./fold_kernel.ts";

test("a good text has no messages, with f16 and subgroups too", async () => {
  expect(await validateWgsl(foldKernel().text)).toEqual([]);
  expect(await validateWgsl("enable f16;\nenable subgroups;\nfn f(x: f16) -> f16 {\n  return subgroupAdd(x);\n}")).toEqual([]);
});

test("an error has its place, and is shown with the lines before it", async () => {
  const text = "fn f() -> f32 {\n  let a = 1;\n  let b = 2;\n  return a + b;\n}";
  const messages = await validateWgsl(text);
  expect(messages).toEqual([{ type: "error", line: 4, column: 3, message: expect.stringContaining("returned 'i32', expected 'f32'") }]);
  expect(showMessages(text, messages).split("\n")).toEqual([
    `error at 4:3: ${messages[0]!.message}`,
    "    2 |   let a = 1;",
    "    3 |   let b = 2;",
    "    4 |   return a + b;",
    "      |   ^",
  ]);
});

test("a barrier that not all threads reach is an error", async () => {
  const text = `@compute @workgroup_size(64) fn f(@builtin(local_invocation_index) i: u32) {
  if (i < 3) {
    workgroupBarrier();
  }
}`;
  const errors = (await validateWgsl(text)).filter((m) => m.type === "error");
  expect(errors).toMatchObject([{ line: 3, message: expect.stringContaining("uniform control flow") }]);
});

test("the validator and a running device share one process", async () => {
  const device = await openWebGpu({ adapter: "software" });
  const { manifest, text } = foldKernel();
  const [executable, messages] = await Promise.all([device.load(manifest, text), validateWgsl("fn f( {}")]);
  const acc = device.alloc(4);
  device.launch({ executable, buffers: { x: device.alloc(4), acc }, dims: { n: 1 } });
  expect(messages).toHaveLength(1);
  expect(await device.read(acc)).toEqual(new Uint8Array(4));
  device.close();
});
