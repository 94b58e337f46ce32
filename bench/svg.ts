/** A run as a drawing: for each problem its rate over the context, with the ceilings of the run and figures of others. */
import { anchorsFrom } from "./anchors.ts";
import { problems, type ProblemName } from "./problems/index.ts";
import { isMeasured, type Measured } from "./run.ts";
import type { BenchReport } from "./table.ts";

const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31"];
const panel = { width: 960, height: 400, left: 76, right: 330, top: 52, bottom: 56 };
const plot = { x0: panel.left, x1: panel.width - panel.right, y0: panel.height - panel.bottom, y1: panel.top };

interface Point {
  readonly n: number;
  readonly rate: number;
}
interface Series {
  readonly name: string;
  readonly points: readonly Point[];
  /** Of other people's kernels. */
  readonly anchors: readonly Point[];
}
interface Line {
  readonly name: string;
  readonly rate: number;
}

/** An SVG document; a drawing without panels when nothing was measured. */
export function drawRun(report: BenchReport): string {
  const measured = report.outcomes.filter(isMeasured);
  // kernels of files have no size that is known to be a context
  const names = [...new Set(measured.map((m) => m.problem))].filter((name): name is ProblemName => Object.hasOwn(problems, name));
  const panels = names.map((name, i) => drawPanel(report, name, measured.filter((m) => m.problem === name), i * panel.height));
  const height = names.length * panel.height + 24;
  const source = `${report.device}${report.driver === null ? "" : `, driver ${report.driver}`}, ${report.date.slice(0, 10)}. Hollow marks: figures of others from ${anchorsFrom.date}, not measured in this run.`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${panel.width} ${height}" width="${panel.width}" height="${height}" font-family="sans-serif" font-size="13">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    ...panels.flat(),
    text(panel.left, height - 10, source, { size: 12, fill: "#555" }),
    "</svg>",
    "",
  ].join("\n");
}

function drawPanel({ ceilings }: BenchReport, name: ProblemName, measured: readonly Measured[], dy: number): string[] {
  const isFlops = problems[name].rate === "flops";
  const series = seriesOf(measured, isFlops);
  const lines = ceilings ? ceilingLines(ceilings, measured, isFlops) : [];
  const all = series.flatMap((s) => [...s.points, ...s.anchors]);
  const contexts = [...new Set(all.map((p) => p.n))].sort((a, b) => a - b);
  const top = niceAbove(Math.max(...all.map((p) => p.rate), ...lines.map((l) => l.rate)));
  const [low, high] = [Math.log2(contexts[0]!), Math.log2(contexts.at(-1)!)];
  const x = (n: number): number => (high === low ? (plot.x0 + plot.x1) / 2 : plot.x0 + ((Math.log2(n) - low) / (high - low)) * (plot.x1 - plot.x0));
  const y = (rate: number): number => plot.y0 - (rate / top) * (plot.y0 - plot.y1);
  const ticks = Array.from({ length: 6 }, (_, i) => (i * top) / 5);
  const unit = isFlops ? "TFLOPS" : "TB/s";
  return [
    `<g transform="translate(0 ${dy})">`,
    text(plot.x0, 26, `${name}, ${[...new Set(measured.map((m) => m.spec.split("+")[0]!))].join(", ")}: ${unit} over context`, { size: 16, weight: "bold" }),
    ...ticks.flatMap((t) => [
      `<line x1="${plot.x0}" x2="${plot.x1}" y1="${at(y(t))}" y2="${at(y(t))}" stroke="#e4e4e4"/>`,
      text(plot.x0 - 8, y(t) + 4, isFlops ? t.toFixed(0) : t.toFixed(1), { anchor: "end" }),
    ]),
    ...contexts.flatMap((n) => [
      `<line x1="${at(x(n))}" x2="${at(x(n))}" y1="${plot.y0}" y2="${plot.y0 + 5}" stroke="#555"/>`,
      text(x(n), plot.y0 + 20, n % 1024 === 0 ? `${n / 1024}K` : `${n}`, { anchor: "middle" }),
    ]),
    text((plot.x0 + plot.x1) / 2, plot.y0 + 42, `${problems[name].sizes.N} (N)`, { anchor: "middle" }),
    `<line x1="${plot.x0}" x2="${plot.x1}" y1="${plot.y0}" y2="${plot.y0}" stroke="#555"/>`,
    ...lines.flatMap(({ name: line, rate }) => [
      `<line x1="${plot.x0}" x2="${plot.x1}" y1="${at(y(rate))}" y2="${at(y(rate))}" stroke="#777" stroke-dasharray="6 4"/>`,
      text(plot.x0 + 6, y(rate) - 5, line, { size: 12, fill: "#555" }),
    ]),
    ...series.flatMap((s, i) => drawSeries(s, i, x, y)),
    ...series.flatMap(({ name }, i) => [
      mark(i, plot.x1 + 24, plot.y1 + 8 + 20 * i),
      text(plot.x1 + 36, plot.y1 + 12 + 20 * i, name),
    ]),
    "</g>",
  ];
}

function drawSeries({ points, anchors }: Series, i: number, x: (n: number) => number, y: (rate: number) => number): string[] {
  const path = points.map((p) => `${at(x(p.n))},${at(y(p.rate))}`).join(" ");
  return [
    ...(points.length > 1 ? [`<polyline points="${path}" fill="none" stroke="${colourOf(i)}" stroke-width="2"/>`] : []),
    ...points.map((p) => mark(i, x(p.n), y(p.rate))),
    ...anchors.map((p) => `<circle cx="${at(x(p.n))}" cy="${at(y(p.rate))}" r="6" fill="none" stroke="${colourOf(i)}" stroke-width="1.5"/>`),
  ];
}

const colourOf = (i: number): string => colours[i % colours.length]!;

/** Discs, and squares once the colours come again. */
const mark = (i: number, x: number, y: number): string =>
  i < colours.length
    ? `<circle cx="${at(x)}" cy="${at(y)}" r="4" fill="${colourOf(i)}"/>`
    : `<rect x="${at(x - 4)}" y="${at(y - 4)}" width="8" height="8" fill="${colourOf(i)}"/>`;

/** One series for all that differs but the context; where several targets or methods were run, they are named too. */
function seriesOf(measured: readonly Measured[], isFlops: boolean): Series[] {
  const several = (of: (m: Measured) => string): boolean => new Set(measured.map(of)).size > 1;
  const [targets, hows] = [several((m) => m.target), several((m) => m.timed.how)];
  const byName = new Map<string, Measured[]>();
  for (const m of measured) {
    const words = m.label.split(" ").filter((word) => !word.startsWith("N="));
    const name = [...words, ...(targets ? [m.target] : []), ...(hows ? [m.timed.how] : [])].join(" ");
    byName.set(name, [...(byName.get(name) ?? []), m]);
  }
  return [...byName].map(([name, members]) => {
    const sorted = members.map((m) => ({ m, n: contextOf(m), rate: isFlops ? (m.tflops ?? 0) : m.terabytes })).sort((a, b) => a.n - b.n);
    const anchors = sorted.flatMap(({ m, n, rate }) => (m.anchor ? [{ n, rate: rate / m.anchor.timesAsFast }] : []));
    return { name, points: sorted.map(({ n, rate }) => ({ n, rate })), anchors };
  });
}

const contextOf = ({ label }: Measured): number => Number(/(?:^| )N=(\d+)/.exec(label)![1]);

function ceilingLines({ read, copy, tensor }: NonNullable<BenchReport["ceilings"]>, measured: readonly Measured[], isFlops: boolean): Line[] {
  if (!isFlops) return [{ name: "memory ceiling of this run", rate: Math.max(read, copy) / 1e12 }];
  const dtypes = new Set(measured.flatMap((m) => Object.keys(m.cost.gemmFlops)));
  return Object.entries(tensor).flatMap(([dtype, by]) =>
    Object.entries(by).filter(([mode]) => dtypes.has(dtype) && measured.some((m) => m.timed.how === mode))
      .map(([mode, rate]) => ({ name: `${dtype} tensor ceiling of this run, ${mode}`, rate: rate / 1e12 })),
  );
}

/** A round number a little above. */
export function niceAbove(x: number): number {
  const unit = 10 ** Math.floor(Math.log10(Math.max(x, 1e-9)));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((f) => f * unit).find((nice) => nice >= x * 1.04) ?? 15 * unit;
}

export const at = (x: number): string => x.toFixed(1);

interface Style {
  readonly anchor?: "middle" | "end";
  readonly size?: number;
  readonly weight?: "bold";
  readonly fill?: string;
}

export function text(x: number, y: number, words: string, { anchor, size, weight, fill }: Style = {}): string {
  const escaped = words.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const attributes = [
    `x="${at(x)}" y="${at(y)}"`,
    ...(anchor ? [`text-anchor="${anchor}"`] : []),
    ...(size ? [`font-size="${size}"`] : []),
    ...(weight ? [`font-weight="${weight}"`] : []),
    ...(fill ? [`fill="${fill}"`] : []),
  ];
  return `<text ${attributes.join(" ")}>${escaped}</text>`;
}
