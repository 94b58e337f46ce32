/**
 * Generated files of a set of jobs: `<kernel>/<target>/<spec>.cu` or `.wgsl`, beside it `<spec>.<tier>.cu` for launches that have a text of
 * their own, a manifest for each, and one index, `manifest.json`, with the hash of each file. The same jobs give the same bytes on every machine.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { z } from "zod";
import type { Manifest } from "../ir/manifest.ts";
import { Failure } from "./failure.ts";
import { compileJob, type Job } from "./jobs.ts";
import type { Files } from "./tree.ts";

/** One generated kernel as the index lists it. Paths are those in the folder. */
const Entry = z.object({
  kernel: z.string(),
  target: z.string(),
  /** Name of the spec, or null for kernels without one. */
  spec: z.string().nullable(),
  /** Of the launches that the text is for; absent where it takes all, or all others. */
  tier: z.string().optional(),
  text: z.string(),
  textSha256: z.string(),
  manifest: z.string(),
  manifestSha256: z.string(),
});
export type Entry = z.infer<typeof Entry>;
const Index = z.object({ format: z.literal(1), kernels: z.array(Entry) });

export const indexName = "manifest.json";

export interface Generated {
  readonly entry: Entry;
  /** What the schedule does not give, and why. */
  readonly note?: string;
  readonly files: Files;
}

/** Compiles one job into its two files. */
export async function generate(job: Job): Promise<Generated> {
  const { text, manifest: made, note } = await compileJob(job);
  const spec = job.spec?.name ?? null;
  const folder = `${made.kernel}/${made.target.replace(":", "-")}`;
  const { tier } = job;
  const stem = [spec ?? made.kernel, ...(tier === undefined ? [] : [tier])].join(".");
  const manifest: Manifest = { ...made, file: stem + extname(made.file) };
  const manifestText = canonicalJson(manifest);
  const paths = { text: `${folder}/${manifest.file}`, manifest: `${folder}/${stem}.manifest.json` };
  const entry: Entry = {
    kernel: made.kernel,
    target: made.target,
    spec,
    ...(tier !== undefined && { tier }),
    text: paths.text,
    textSha256: sha256(text),
    manifest: paths.manifest,
    manifestSha256: sha256(manifestText),
  };
  return { entry, ...(note !== undefined && { note }), files: new Map([[paths.text, text], [paths.manifest, manifestText]]) };
}

/** All files of `made`, with an index of them and of the entries in `kept` that they do not replace. */
export function filesOf(made: readonly Generated[], kept: readonly Entry[] = []): Files {
  const entries = new Map([...kept, ...made.map((g) => g.entry)].map((entry) => [entry.text, entry]));
  const kernels = [...entries.values()].sort((a, b) => (a.text < b.text ? -1 : 1));
  return new Map([...made.flatMap((g) => [...g.files]), [indexName, canonicalJson({ format: 1, kernels })]]);
}

/** Entries of a folder's index; none where there is no index. */
export function readIndex(folder: string): readonly Entry[] {
  const file = join(folder, indexName);
  if (!existsSync(file)) return [];
  try {
    return Index.parse(JSON.parse(readFileSync(file, "utf8"))).kernels;
  } catch {
    throw new Failure(`${file} is not an index of generated kernels`, "delete it, or give --out another folder");
  }
}

/** JSON with sorted keys, two spaces and a final newline. */
function canonicalJson(value: unknown): string {
  const sorted = (_: string, v: unknown): unknown =>
    v !== null && typeof v === "object" && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1))) : v;
  return `${JSON.stringify(value, sorted, 2)}\n`;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
