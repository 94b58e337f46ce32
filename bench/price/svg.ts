/** Dollars over positions, a panel for prefill and one for decode, dense and sparse in each: the paper's figure with other rates. */
import { at, niceAbove, text } from "../svg.ts";
import type { Phase } from "./model.ts";

export interface Curve {
  readonly phase: Phase;
  /** By position, ascending. */
  readonly points: readonly { readonly context: number; readonly dense: number; readonly sparse: number }[];
}

const panel = { width: 460, height: 340, left: 64, right: 20, top: 52, bottom: 56 };
const curves = { dense: "#d55e00", sparse: "#0072b2" } as const;

/** An SVG document; `notes` stand below the panels. */
export function drawPrices(title: string, all: readonly Curve[], notes: string): string {
  const width = panel.width * all.length;
  const height = panel.height + 48;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="13">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    text(panel.left, 24, title, { size: 16, weight: "bold" }),
    ...all.flatMap((curve, i) => drawPanel(curve, i * panel.width)),
    text(panel.left, height - 14, notes, { size: 12, fill: "#555" }),
    "</svg>",
    "",
  ].join("\n");
}

function drawPanel({ phase, points }: Curve, dx: number): string[] {
  const [x0, x1, y0, y1] = [panel.left, panel.width - panel.right, panel.height - panel.bottom + 24, panel.top + 24];
  const longest = Math.max(...points.map((p) => p.context));
  const top = niceAbove(Math.max(...points.flatMap((p) => [p.dense, p.sparse])));
  const x = (context: number): number => x0 + (context / longest) * (x1 - x0);
  const y = (dollars: number): number => y0 - (dollars / top) * (y0 - y1);
  const fifths = Array.from({ length: 6 }, (_, i) => i / 5);
  const curve = (kind: keyof typeof curves): string =>
    `<polyline points="${points.map((p) => `${at(x(p.context))},${at(y(p[kind]))}`).join(" ")}" fill="none" stroke="${curves[kind]}" stroke-width="2"/>`;
  return [
    `<g transform="translate(${dx} 0)">`,
    text(x0, 58, `${phase}: dollars per million tokens`),
    ...fifths.flatMap((part) => [
      `<line x1="${x0}" x2="${x1}" y1="${at(y(part * top))}" y2="${at(y(part * top))}" stroke="#e4e4e4"/>`,
      text(x0 - 8, y(part * top) + 4, (part * top).toPrecision(2), { anchor: "end" }),
      text(x(part * longest), y0 + 20, `${((part * longest) / 1024).toFixed(0)}K`, { anchor: "middle" }),
    ]),
    text((x0 + x1) / 2, y0 + 40, "position of the token", { anchor: "middle" }),
    curve("dense"),
    curve("sparse"),
    text(x0 + 12, y1 + 18, "dense", { fill: curves.dense }),
    text(x0 + 12, y1 + 36, "sparse", { fill: curves.sparse }),
    "</g>",
  ];
}
