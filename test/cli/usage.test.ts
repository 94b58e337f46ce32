/** What a person gets who types something wrong: one clear error, and an exit code that says whose fault it is. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cli, scratchFolder } from "./helpers.ts";

test.each([
  [["compile", "--preset", "v3"], /no preset is called "v3".*"v3\.2", "glm-5"/],
  [["compile", "--set", "topk=1000"], /no setting "topk"\. Did you mean "topK"\?/],
  [["compile", "--set", "topK=0"], /"0" is not an integer from 1 on/],
  [["compile", "--set", "topK"], /must read key=value/],
  [["compile", "--set", "score=gelu"], /not one of "relu", "softplus"/],
  [["compile", "--target", "cuda:sm_90,webgl"], /no target is called "webgl".*"wgsl"/],
  [["verify", "--kernel", "top_k"], /no kernel is called "top_k"\. Did you mean "topk"\?/],
  [["verify", "--device", "tpu"], /'tpu' is invalid\. Allowed choices are auto, software/],
  [["verify", "--runs", "many"], /"many" is not a whole number/],
  [["verify", "--device", "software", "--target", "cuda:sm_80"], /no target of cuda:sm_80 runs on --device software/],
  [["verify", "--device", "software", "--preset", "v4-flash", "--kernel", "sparse_mla_decode"], /no spec of v4-flash has sparse_mla_decode/],
  [["verify", "--device", "software", "--kernel", "topk", "--tier", "wave"], /no spec of v3\.2 has topk, a tier "wave" there/],
  [["explain", "topk"], /missing required argument 'target'/],
  [["explain", "topk", "cuda:sm_20"], /no target is called "cuda:sm_20"/],
  [["explain", "sparse_mla_decode", "wgsl", "--preset", "v4-flash"], /spec v4-flash has no sparse_mla_decode; it has indexer_logits/],
  [["explain", "topk", "wgsl", "--dim", "T=big"], /"big" is not a whole number/],
  [["compile", "--watch", "--check"], /--watch goes with neither --check nor --json/],
  [["compile", "--chek"], /unknown option '--chek'/],
  [["complie"], /unknown command 'complie'/],
])("%j is a wrong command line", async (args, message) => {
  const { code, stdout, stderr } = await cli(...args);
  expect(stderr).toMatch(message);
  expect(stderr).not.toMatch(/\n\s+at /); // no stack
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
});

test("no command at all prints the help on stderr", async () => {
  const { code, stdout, stderr } = await cli();
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(/^Usage: tokensieve/);
});

test("a file that is not there, and one without kernels", async () => {
  const missing = await cli("compile", "no/such/kernel.ts");
  expect(missing).toEqual({ code: 1, stdout: "", stderr: "E-FRONT-01 cannot read no/such/kernel.ts: there is no such file\n" });

  const file = join(scratchFolder(), "empty.ts");
  writeFileSync(file, "export const size = 3;\n");
  const { code, stderr } = await cli("compile", file);
  expect(code).toBe(2);
  expect(stderr).toMatch(/empty\.ts exports no kernel\n {2}try: export const mine = kernel\("mine"/);
});

const commands = ["quickstart", "compile", "verify", "test-gpu", "bench", "explain", "cost", "doctor", "pack-gpu"];

test.each([[], ...commands.map((name) => [name])])("--help of %s", async (...command) => {
  const { code, stdout, stderr } = await cli(...command, "--help");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  await expect(stdout).toMatchFileSnapshot(`golden/help-${command[0] ?? "tokensieve"}.txt`);
});
