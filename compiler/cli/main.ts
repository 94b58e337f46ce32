/** The command line: one file per command, of which only the one that is asked for is loaded. */
import { Command } from "commander";
import { exitCode, exitCodeHelp, report } from "./failure.ts";

const commands: Readonly<Record<string, () => Promise<(program: Command) => Command>>> = {
  quickstart: async () => (await import("./quickstart.ts")).addQuickstart,
  compile: async () => (await import("./compile.ts")).addCompile,
  verify: async () => (await import("./verify.ts")).addVerify,
  "test-gpu": async () => (await import("./test_gpu.ts")).addTestGpu,
  bench: async () => (await import("./bench.ts")).addBench,
  explain: async () => (await import("./explain.ts")).addExplain,
  cost: async () => (await import("./cost.ts")).addCost,
  doctor: async () => (await import("./doctor.ts")).addDoctor,
  "pack-gpu": async () => (await import("./pack_gpu.ts")).addPackGpu,
};

/** Runs one command; never throws. `args` are those behind the program's name. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const program = await programFor(args[0]);
    if (args.length === 0) {
      program.outputHelp({ error: true });
      return exitCode.usage;
    }
    await program.parseAsync(args, { from: "user" });
    return exitCode.ok;
  } catch (error) {
    return await report(error);
  }
}

async function programFor(name: string | undefined): Promise<Command> {
  const program = new Command("tokensieve")
    .description("Kernels for DeepSeek Sparse Attention: written once in TypeScript, compiled to CUDA and WGSL, held to a reference.")
    .addHelpText("after", exitCodeHelp)
    .showSuggestionAfterError()
    .exitOverride();
  const load = name === undefined ? undefined : commands[name];
  for (const add of load ? [load] : Object.values(commands)) {
    const command = (await add())(program);
    command.addHelpText("after", exitCodeHelp);
  }
  return program;
}
