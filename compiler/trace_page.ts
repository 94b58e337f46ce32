/** One self-contained page: each pass beside the one before it, aligned line by line, linked to the TypeScript that lines come from. */

export interface Step {
  readonly pass: string;
  readonly text: string;
}

/** One row of two aligned texts; a side is absent where the line is only in the other text. */
export interface Row {
  readonly before?: string;
  readonly after?: string;
}

/** Aligns two lists of lines along a longest common subsequence. */
export function alignLines(before: readonly string[], after: readonly string[]): Row[] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let tail = 0;
  while (tail < before.length - start && tail < after.length - start && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail++;
  const a = before.slice(start, before.length - tail);
  const b = after.slice(start, after.length - tail);
  // common[i * width + j]: length of the longest common subsequence of a[i..] and b[j..]
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      common[i * width + j] = a[i] === b[j] ? common[(i + 1) * width + j + 1]! + 1 : Math.max(common[(i + 1) * width + j]!, common[i * width + j + 1]!);
  const both = (line: string): Row => ({ before: line, after: line });
  const rows = before.slice(0, start).map(both);
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const [x, y] = [a[i], b[j]];
    const skipA = common[(i + 1) * width + j] ?? 0; // 0 at the end of a
    if (x !== undefined && x === y) rows.push({ before: x, after: x });
    else if (x !== undefined && (y === undefined || skipA >= common[i * width + j + 1]!)) rows.push({ before: x });
    else rows.push({ after: y! });
    const row = rows.at(-1)!;
    if (row.before !== undefined) i++;
    if (row.after !== undefined) j++;
  }
  return [...rows, ...before.slice(before.length - tail).map(both)];
}

/** `sourceOf` gives the text of a file that a program names, if it is at hand. */
export function tracePage(title: string, steps: readonly Step[], sourceOf: (file: string) => string | undefined): string {
  const file = mainFile(steps);
  const sources = new Map(filesOf(steps).flatMap((f) => (sourceOf(f) === undefined ? [] : [[f, sourceOf(f)!.split("\n")] as const])));
  const show = (line: string | undefined): string => (line === undefined ? "" : linked(line, file, sources));
  const sections = steps.map((step, i) => {
    const rows = alignLines(i === 0 ? [] : lines(steps[i - 1]!.text), lines(step.text));
    const heading = i === 0 ? escaped(step.pass) : `${escaped(steps[i - 1]!.pass)} → ${escaped(step.pass)}`;
    const body = rows.map((r) => `<tr class="${classOf(r)}">${i === 0 ? "" : `<td>${show(r.before)}</td>`}<td>${show(r.after)}</td></tr>`);
    return `<section id="pass-${i}"><h2>${heading}</h2><table${i === 0 ? ' class="first"' : ""}>${body.join("\n")}</table></section>`;
  });
  const listings = [...sources].map(([name, text]) => {
    const numbered = text.map((line, n) => `<li id="${anchor(name, n + 1)}">${escaped(line) || " "}</li>`);
    return `<section><h2>${escaped(name)}</h2><ol class="source">${numbered.join("")}</ol></section>`;
  });
  const nav = steps.map((s, i) => `<a href="#pass-${i}">${escaped(s.pass)}</a>`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title>
<style>${style}</style>
</head>
<body>
<header><h1>${escaped(title)}</h1><nav>${nav.join(" ")}</nav></header>
${[...sections, ...listings].join("\n")}
</body>
</html>
`;
}

const style = `
:root { color-scheme: light dark; --removed: light-dark(#ffe3e0, #4a1f1d); --added: light-dark(#dcf5e0, #173d22); --faint: light-dark(#6a6a6a, #9a9a9a); }
body { margin: 0; font: 14px/1.5 system-ui, sans-serif; background: Canvas; color: CanvasText; }
header { position: sticky; top: 0; padding: 4px 16px; background: Canvas; border-bottom: 1px solid var(--faint); }
h1, h2 { font-size: 16px; margin: 4px 0; }
nav a { margin-right: 12px; }
section { padding: 8px 16px; scroll-margin-top: 64px; }
table { width: 100%; table-layout: fixed; border-collapse: collapse; font: 12px/1.4 ui-monospace, monospace; }
td { padding: 0 8px; vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere; }
.removed td:first-child { background: var(--removed); }
.added td:last-child { background: var(--added); }
.first td { background: none; }
.source { font: 12px/1.4 ui-monospace, monospace; white-space: pre-wrap; }
.source li { scroll-margin-top: 64px; }
.source li:target { background: var(--added); }
.line { color: var(--faint); }
`;

const lines = (text: string): string[] => text.replace(/\n$/, "").split("\n");
const classOf = (r: Row): string => (r.before === undefined ? "added" : r.after === undefined ? "removed" : "kept");
const escaped = (s: string): string => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
const anchor = (file: string, line: number): string => `${encodeURIComponent(file)}-L${line}`;

/** A line ends in the place that it comes from: `// 42` in the kernel's own file, `// other.ts:7` elsewhere. */
const mark = /\/\/ (?:(\S+):)?(\d+)$/;

/** The file in the first line of a program. */
const mainFile = (steps: readonly Step[]): string => mark.exec(lines(steps[0]?.text ?? "")[0] ?? "")?.[1] ?? "";
const filesOf = (steps: readonly Step[]): string[] => [...new Set([mainFile(steps), ...steps.flatMap((s) => lines(s.text).flatMap((l) => mark.exec(l)?.[1] ?? []))])];

/** The line with its mark as a link that shows the source text. */
function linked(line: string, main: string, sources: ReadonlyMap<string, readonly string[]>): string {
  const found = mark.exec(line);
  const file = found?.[1] ?? main;
  const number = Number(found?.[2]);
  const text = sources.get(file)?.[number - 1];
  if (!found || text === undefined) return escaped(line);
  return `${escaped(line.slice(0, found.index))}<a class="line" href="#${anchor(file, number)}" title="${escaped(text.trim())}">${escaped(found[0])}</a>`;
}
