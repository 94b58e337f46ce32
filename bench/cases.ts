/** Cases that are timed, as data, and how a command line chooses among them. */
import type { KernelName } from "../dsl/kernels/index.ts";
import { withSettings } from "../dsl/kernels/settings.ts";
import type { Dsa } from "../dsl/kernels/spec.ts";
import type { ProgramName } from "../dsl/programs/index.ts";
import type { Mode } from "../targets/cuda/runtime/measure.ts";
import { type ProblemName, problems } from "./problems/index.ts";
import type { Problem, Sizes } from "./problems/problem.ts";

export interface BenchCase {
  readonly problem: ProblemName;
  readonly sizes: Sizes;
  /** Changes to the spec, as `--set` takes them. */
  readonly set: Readonly<Record<string, string>>;
  readonly data: string;
  /** How it is timed unless the command line says. */
  readonly mode: Mode;
  /** Runs only when it is asked for. */
  readonly extra: boolean;
}

interface Listed {
  readonly sizes: Sizes;
  readonly set?: BenchCase["set"];
  readonly mode?: Mode;
}
const heads = (indexerHeads: number): BenchCase["set"] => ({ indexerHeads: `${indexerHeads}` });

const prefill: readonly Listed[] = [
  { sizes: { S: 4096, N: 4096 }, mode: "queued" },
  { sizes: { S: 2048, N: 8192 }, mode: "queued" },
  { sizes: { S: 4096, N: 16384 } },
  { sizes: { S: 2048, N: 65536 } },
  { sizes: { S: 2048, N: 131072 } },
  { sizes: { S: 2048, N: 65536 }, set: { logitsDtype: "bf16" } },
  ...[8, 16, 24, 32, 48].map((h) => ({ sizes: { S: 2048, N: 65536 }, set: heads(h) })),
  { sizes: { S: 4096, N: 16384 }, set: heads(32) },
];
const decode: readonly Listed[] = [
  ...([[1, 131072], [8, 65536], [32, 32768], [64, 16384], [128, 8192], [128, 32768], [256, 4096]] as const).map(([B, N]) => ({ sizes: { B, N } })),
  ...["2", "4"].map((nextN) => ({ sizes: { B: 64, N: 16384 }, set: { nextN } })),
];
const streaming: readonly Listed[] = [{ sizes: { S: 2048, N: 131072, MB: 64 } }];
const rows = [[1, 131072], [8, 65536], [32, 32768], [128, 32768], [128, 131072], [4096, 8192], [4096, 32768], [2048, 131072]] as const;
const forms: readonly Listed[] = [[8, 65536], [4096, 32768]].map(([R, N]) => ({ sizes: { R: R!, N: N! } }));
const attention: readonly Listed[] = [
  ...[8192, 32768, 65536, 131072].map((N) => ({ sizes: { S: 4096, N } })),
  { sizes: { S: 4096, N: 32768 }, set: { heads: "64" } },
  { sizes: { S: 4096, N: 32768 }, set: { topK: "512" } },
  { sizes: { S: 2048, N: 32768 }, set: { topK: "8192" } },
];
/** 8192 records a request, so that the cache of 128 requests is made and sent in seconds. */
const attentionDecode: readonly Listed[] = [
  ...[1, 8, 32, 64, 128].map((B) => ({ sizes: { B, N: 8192 } })),
  { sizes: { B: 128, N: 8192 }, set: { nextN: "2" } },
  { sizes: { B: 1, N: 8192 }, set: { heads: "64" } },
  { sizes: { B: 128, N: 8192 }, set: { heads: "64" } },
];

const list = (problem: ProblemName, mode: Mode, listed: readonly Listed[]): BenchCase[] =>
  listed.map(({ sizes, set = {}, mode: own = mode }) => ({ problem, sizes, set, data: problems[problem].data[0]!, mode: own, extra: false }));

export const cases: readonly BenchCase[] = [
  ...list("indexer_logits", "sustained", prefill),
  ...list("paged_indexer_logits", "queued", decode),
  ...list("streaming_topk", "queued", streaming),
  ...list("topk", "queued", rows.map(([R, N]) => ({ sizes: { R, N } }))),
  ...problems.topk.data.slice(1).flatMap((data) =>
    rows.map(([R, N]): BenchCase => ({ problem: "topk", sizes: { R, N }, set: {}, data, mode: "queued", extra: true })),
  ),
  ...list("topk_window", "queued", forms),
  ...list("topk_ragged", "queued", forms),
  ...list("topk_slots", "queued", forms),
  ...list("check_selection", "queued", [{ sizes: { S: 4096, N: 131072 } }]),
  ...list("sparse_mla", "sustained", attention),
  ...list("sparse_mla_decode", "queued", attentionDecode),
];

/** "S=2048 N=65536 indexerHeads=32": sizes, what differs in the spec, and the data where it is not the usual. */
export function labelOf({ problem, sizes, set, data }: BenchCase): string {
  const told = [...Object.entries(sizes), ...Object.entries(set)].map(([name, value]) => `${name}=${value}`);
  return [...told, ...(data === problems[problem].data[0] ? [] : [data])].join(" ");
}

export interface Choice {
  readonly kernels?: readonly KernelName[] | undefined;
  /** Programs are chosen by their own names: what a kernel's name means is the kernel by itself. */
  readonly programs?: readonly ProgramName[] | undefined;
  /** Labels, or words that a label must have: "N=65536 constant". Any of the patterns will do. */
  readonly patterns?: readonly string[] | undefined;
  /** What `--set` says. */
  readonly set: Readonly<Record<string, string>>;
}

/**
 * The cases that fit. A pattern that no listed case fits but that gives all sizes of a problem is a case of its own. A case whose own
 * change of the spec `set` overrules is left out.
 */
export function chooseCases({ kernels, programs, patterns, set }: Choice): BenchCase[] {
  const isWanted = ({ kernels: own, program }: Problem): boolean => {
    if (kernels === undefined && programs === undefined) return true;
    return program === undefined ? own.some((kernel) => kernels?.includes(kernel)) : (programs?.includes(program) ?? false);
  };
  const known = cases.filter((c) => isWanted(problems[c.problem]) && Object.entries(c.set).every(([key, value]) => (set[key] ?? value) === value));
  if (patterns === undefined) return known.filter((c) => !c.extra);
  const names = (Object.keys(problems) as ProblemName[]).filter((name) => isWanted(problems[name]));
  const chosen = patterns.flatMap((pattern) => {
    const words = pattern.split(/\s+/).filter((word) => word !== "");
    const exact = known.filter((c) => labelOf(c) === words.join(" "));
    const listed = known.filter((c) => words.every((word) => labelOf(c).split(" ").includes(word)));
    return [exact, listed].find((found) => found.length > 0) ?? names.flatMap((name) => ownCase(name, words));
  });
  return [...new Map(chosen.map((c) => [`${c.problem} ${labelOf(c)}`, c])).values()];
}

/** The case that words describe in full: all sizes, settings of the spec, and perhaps the data. */
function ownCase(name: ProblemName, words: readonly string[]): BenchCase[] {
  const problem = problems[name];
  const values = new Map(words.filter((word) => word.includes("=")).map((word) => word.split("=", 2) as [string, string]));
  const [data = problem.data[0]!, ...more] = words.filter((word) => !word.includes("="));
  const sizes = Object.fromEntries(Object.keys(problem.sizes).map((size) => [size, Number(values.get(size))]));
  if (more.length > 0 || !problem.data.includes(data) || !Object.values(sizes).every(Number.isSafeInteger)) return [];
  const set = Object.fromEntries([...values].filter(([key]) => !Object.hasOwn(sizes, key)));
  return [{ problem: name, sizes, set, data, mode: "queued", extra: true }];
}

/** The spec with a case's own changes and then those of `--set`. An illegal setting is a RangeError. */
export function specOf(spec: Dsa, own: BenchCase["set"] = {}, set: BenchCase["set"] = {}): Dsa {
  const changes = { ...own, ...set };
  return Object.keys(changes).length === 0 ? spec : withSettings(spec, changes);
}
