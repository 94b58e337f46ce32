/** Tile IR as text: for traces, `explain` and golden tests. */
import type { Expr, ScalarType } from "./expr.ts";
import type { AxisSize, Field, HostExpr, Param } from "./manifest.ts";
import { sharedNodes } from "./shared_nodes.ts";
import type { Axis, GridDim, Loc, TileKernel, TileOp, TileStmt, TileValue, TileView } from "./tile.ts";

/** Column at which source lines stand. */
export const margin = 100;

/** The whole kernel, one statement a line, each with the TypeScript line that it comes from. */
export function printTile(kernel: TileKernel): string {
  const lines = [
    `kernel ${kernel.name}  // ${kernel.loc.file}:${kernel.loc.line}`,
    ...Object.entries(kernel.tune).map(([name, value]) => `  tune ${name} = ${value}`),
    ...printInterface(kernel),
    ...printGrid(kernel.grid),
    ...kernel.body.flatMap((s) => printTileStmt(s, "  ", kernel.loc.file)),
  ];
  return `${lines.join("\n")}\n`;
}

export function printHost(e: HostExpr): string {
  if (typeof e === "number" || typeof e === "string") return String(e);
  const [first = "", ...rest] = e.args.map(printHost);
  const infix = { add: "+", sub: "-", mul: "*", div: "/" } as const;
  return e.op in infix ? `(${[first, ...rest].join(` ${infix[e.op as keyof typeof infix]} `)})` : `${e.op}(${[first, ...rest].join(", ")})`;
}

/** Params and dims. */
export const printInterface = (kernel: Pick<TileKernel, "params" | "dims">): readonly string[] => [
  ...kernel.params.map((p) => `  ${p.access} ${printParam(p)}`),
  ...kernel.dims.map((d) => `  dim ${d.name}${d.default === undefined ? "" : ` = ${printHost(d.default)}`}`),
];

export const printGrid = (grid: readonly GridDim[]): readonly string[] =>
  grid.map(({ index, lo, step, count }) => `  grid ${index.name} = ${printHost(lo)} + ${step} * [0, ${printHost(count)})`);

/** A place in the source; `file` is the kernel's: lines of other files have their path. */
export const printLoc = (at: Loc, file: string): string => (at.file === file ? String(at.line) : `${at.file}:${at.line}`);

function printParam(p: Param): string {
  const promise = (f: Field): string => (f.nonNegative ? " >= 0" : "");
  const fields = p.fields.map((f) => `${f.name} ${f.dtype}${printSizes(f.axes)}${promise(f)} @${f.offset}`);
  const [plain] = p.fields;
  const [record, all] = plain?.name === "" ? [plain.dtype, promise(plain)] : [`{ ${fields.join(", ")} }`, ""];
  return `${p.name}: ${record}${printSizes(p.axes)}${all}, ${printHost(p.bytes)} bytes`;
}
const printSizes = (axes: readonly AxisSize[]): string => `[${axes.map((a) => `${a.axis} ${a.size} by ${printHost(a.stride)}`).join(", ")}]`;

export const printAxes = (axes: readonly Axis[]): string => `[${axes.map((a) => `${a.name} ${a.held ? `${printExpr(a.held)} of ` : ""}${a.extent}`).join(", ")}]`;
export const typed = (t: TileValue): string => `${t.label}: ${t.dtype}${printAxes(t.axes)}`;

export function printView(view: TileView): string {
  const coords = view.coords.map((c) => (c.kind === "Index" ? printExpr(c.at) : `${c.axis.name} ${printExpr(c.start)} +${c.axis.extent}`));
  return `${view.param}${view.field === "" ? "" : `.${view.field}`}[${coords.join(", ")}]`;
}

/** `file` is the kernel's. */
export function printTileStmt(s: TileStmt, indent: string, file: string): readonly string[] {
  const line = (text: string, at?: Loc): string => (at === undefined ? indent + text : `${(indent + text).padEnd(margin)} // ${printLoc(at, file)}`);
  const block = (body: readonly TileStmt[]): readonly string[] => body.flatMap((b) => printTileStmt(b, `${indent}  `, file));
  switch (s.kind) {
    case "Define":
      return [line(`${typed(s.value)} = ${printOp(s.op)}`, s.value.loc)];
    case "Let":
      return [line(`${s.scalar.name}: ${s.scalar.type} = ${printExpr(s.expr)}`, s.scalar.loc)];
    case "ToScalar":
      return [line(`${s.scalar.name}: ${s.scalar.type} = scalar ${s.of.label}`, s.scalar.loc)];
    case "For":
      return [
        line(`for ${s.index.name} = ${printExpr(s.lo)} to ${printExpr(s.hi)} step ${s.step}`, s.loc),
        ...s.tiles.map((c) => line(`  carry ${typed(c.param)} from ${c.init.label}`)),
        ...s.scalars.map((c) => line(`  carry ${c.param.name}: ${c.param.type} from ${c.init.name}`)),
        ...block(s.body),
        ...s.tiles.map((c) => line(`  next ${c.param.label} = ${c.next.label}, at last ${c.result.label}`)),
        ...s.scalars.map((c) => line(`  next ${c.param.name} = ${c.next.name}, at last ${c.result.name}`)),
      ];
    case "If":
      return [
        line(`if ${printExpr(s.cond)}`, s.loc),
        ...block(s.then),
        ...(s.otherwise.length > 0 ? [line("else"), ...block(s.otherwise)] : []),
        ...s.tiles.map((m) => line(`  ${typed(m.result)} = ${m.then.label} or ${m.otherwise.label}`)),
        ...s.scalars.map((m) => line(`  ${m.result.name}: ${m.result.type} = ${m.then.name} or ${m.otherwise.name}`)),
      ];
    case "Store":
      return [line(`store ${printView(s.view)} = ${s.of.label}${s.keep ? ` where ${s.keep.label}` : ""}`, s.loc)];
    case "Histogram":
      return [line(`histogram ${s.name} of ${s.bins}`, s.loc)];
    case "HistogramAdd":
      return [line(`${s.histogram}.add ${s.bin.label} where ${s.keep.label}`, s.loc)];
    case "HistogramFind":
      return [line(`${s.bin.name}, ${s.above.name}, ${s.inBin.name} = ${s.histogram}.find ${printExpr(s.want)}`, s.loc)];
    case "Bag":
      return [line(`bag ${s.name} of ${s.capacity} { ${s.fields.map((f) => `${f.name}: ${f.dtype}`).join(", ")} }`, s.loc)];
    case "BagAdd":
      return [line(`${s.bag}.add ${s.items.map((v) => v.label).join(", ")} where ${s.keep.label}`, s.loc)];
    case "BagCount":
      return [line(`${s.scalar.name}: i32 = ${s.bag}.count`, s.scalar.loc)];
    case "Bitmap":
      return [line(`bitmap ${s.name} of ${s.size}`, s.loc)];
    case "BitmapAdd":
      return [line(`${s.bitmap}.add ${s.position.label} where ${s.keep.label}`, s.loc)];
    case "AppendMarked":
      return [line(`${s.append}.push ${s.of.label} where marked in ${s.bitmap} below ${printExpr(s.limit)}`, s.loc)];
    case "Append":
      return [line(`append ${s.name} to ${printView(s.view)}`, s.loc)];
    case "AppendPush":
      return [line(`${s.append}.push ${s.of.label} where ${s.keep.label}`, s.loc)];
    case "AppendFill":
      return [line(`${s.append}.fill ${printExpr(s.value)}`, s.loc)];
    case "AppendCount":
      return [line(`${s.scalar.name}: i32 = ${s.append}.count`, s.scalar.loc)];
  }
}

export function printOp(op: TileOp): string {
  switch (op.kind) {
    case "Load":
      return `load ${printView(op.view)} else ${printExpr(op.fill)}${op.once ? ", once" : ""}`;
    case "Gather":
      return `gather ${printView(op.view)} at ${op.picks.map((p) => `#${p.coord} ${p.index.label}`).join(", ")}`;
    case "Full":
      return `full ${printExpr(op.value)}`;
    case "Iota":
      return `iota ${printExpr(op.start)}`;
    case "Slice":
      return `slice ${op.of.label} ${op.axis} from ${op.start}`;
    case "Rename":
      return `rename ${op.of.label} ${Object.entries(op.axes).map(([from, to]) => `${from} to ${to}`).join(", ")}`;
    case "Cast":
      return `cast ${op.of.label}`;
    case "Map":
      return `map (${op.params.map((p, i) => `${p} of ${op.inputs[i]?.label}`).join(", ")}) => ${printExpr(op.body)}`;
    case "Reduce":
      return `${op.fn} ${op.of.label} over ${op.over.join(", ")}`;
    case "Scan":
      return `scan ${op.fn} ${op.of.label} along ${op.axis}`;
    case "Gemm":
      return `gemm ${op.a.label} * ${op.b.label} over ${op.over.join(", ")}${op.acc ? ` + ${op.acc.label}` : ""}`;
    case "Counts":
      return `counts of ${op.histogram}`;
    case "Items":
      return `items of ${op.bag}, field ${op.field}`;
  }
}

/** Shared parts of an expression that are longer than this get a name. */
const longPart = 40;

/** An expression in TypeScript's syntax, conversions and roundings as calls of the type; long parts that occur twice stand before it. */
export function printExpr(root: Expr): string {
  const named = new Map<Expr, string>();
  const lines: string[] = [];
  for (const e of sharedNodes(root)) {
    const text = printNode(e, named);
    if (text.length <= longPart) continue;
    lines.push(`$${named.size} = ${text}; `);
    named.set(e, `$${named.size}`);
  }
  const value = named.get(root) ?? printNode(root, named);
  return lines.length === 0 ? value : `{ ${lines.join("")}${value} }`;
}

function printNode(e: Expr, named: ReadonlyMap<Expr, string>): string {
  const print = (x: Expr): string => named.get(x) ?? printNode(x, named);
  const inner = (x: Expr): string => (!named.has(x) && (x.kind === "Binary" || x.kind === "Select") ? `(${print(x)})` : print(x));
  switch (e.kind) {
    case "Const":
      return printConst(e.type, e.value);
    case "Var":
      return e.name;
    case "Unary":
      return `${e.op}${inner(e.a)}`;
    case "Binary":
      return `${inner(e.a)} ${e.op} ${inner(e.b)}`;
    case "Select":
      return `${inner(e.cond)} ? ${inner(e.then)} : ${inner(e.otherwise)}`;
    case "Call":
      return `${e.fn}(${e.args.map(print).join(", ")})`;
    case "Convert":
      return `${e.type}(${print(e.a)})`;
    case "Round":
      return `${e.dtype}(${print(e.a)})`;
    case "Reg":
      return `${e.array}[${print(e.index)}]`;
    case "Shared":
      return `${e.buffer}[${print(e.index)}]`;
    case "GlobalElement":
      return printElement(e, print);
    case "BlockIndex":
      return "blockIndex";
    case "BlockCount":
      return "blockCount";
    case "WarpIndex":
      return "warpIndex";
    case "ThreadIndex":
      return "threadIndex";
  }
}

function printConst(type: ScalarType, value: number): string {
  if (type === "bool") return String(value !== 0);
  const suffix = type === "u32" ? "u" : type === "f32" && Number.isInteger(value) ? "f" : "";
  return `${Object.is(value, -0) ? "-0" : value}${suffix}`;
}

function printElement({ param, field, coords, guard, fill }: Extract<Expr, { kind: "GlobalElement" }>, print: (e: Expr) => string): string {
  const element = `${param}${field === "" ? "" : `.${field}`}[${coords.map(print).join(", ")}]`;
  return guard && fill ? `(${print(guard)} ? ${element} : ${print(fill)})` : element;
}
