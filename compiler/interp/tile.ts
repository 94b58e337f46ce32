/**
 * The Tile interpreter: runs Tile IR block by block with the semantics of the eager language, on bytes as on the device. It shares only
 * the number formats and the scalar table with `dsl/`, so that it checks both the front end and every pass on Tile IR.
 */
import { round } from "../../dsl/dtype.ts";
import { evaluate } from "../ir/manifest.ts";
import type { Expr } from "../ir/expr.ts";
import type { Axis, ReduceFn, TileKernel, TileOp, TileStmt, TileType, TileValue, TileView } from "../ir/tile.ts";
import { type MemoryAxis, readBlock, sizeOf, type Span, stridesFor, writeBlock } from "./blocks.ts";
import { exprText, library } from "./expr_text.ts";

/** The state of one block. */
export interface Block {
  /** By id. */
  readonly tiles: Float64Array[];
  /** By slot. */
  readonly scalars: number[];
  readonly histograms: Map<string, Float64Array>;
  /** One column for each field. */
  readonly bags: Map<string, { count: number; readonly columns: readonly Float64Array[] }>;
  readonly bitmaps: Map<string, Uint8Array>;
  readonly appends: Map<string, { count: number; readonly capacity: number; write(position: number, value: number): void }>;
}
type Step = (block: Block) => void;
export type Scalar = (scalars: readonly number[]) => number;

/**
 * Runs all blocks of the grid, or those whose number, counted with the last dimension fastest, is in `only`. Outputs are written in place; bytes that no block writes stay. Pitches default to packed. A missing dim or
 * a buffer that is too small is a RangeError.
 */
export function interpretTile(
  kernel: TileKernel,
  buffers: Readonly<Record<string, Uint8Array>>,
  dims: Readonly<Record<string, number>>,
  only?: ReadonlySet<number>,
): void {
  const values: Record<string, number> = { ...dims };
  for (const { name, default: packed } of kernel.dims) values[name] ??= evaluate(packed ?? name, values);
  const slots = new Map<string, number>();
  const slot = (name: string): number => {
    if (!slots.has(name)) slots.set(name, slots.size);
    return slots.get(name)!;
  };
  const memory = bindMemory(kernel, buffers, values);
  const body = compileBody(kernel.body, { slot, memory });
  const places = kernel.grid.map((g) => ({ slot: slot(g.index.name), lo: evaluate(g.lo, values), step: g.step, count: evaluate(g.count, values) }));
  const scalars: number[] = [];
  for (const { name } of kernel.dims) scalars[slot(name)] = values[name]!;

  let block = 0;
  const run = (axis: number): void => {
    const place = places[axis];
    if (!place) {
      const isRun = only === undefined || only.has(block);
      block++;
      if (isRun) body({ tiles: [], scalars, histograms: new Map(), bags: new Map(), bitmaps: new Map(), appends: new Map() });
      return;
    }
    for (let i = 0; i < place.count; i++) {
      scalars[place.slot] = place.lo + i * place.step;
      run(axis + 1);
    }
  };
  run(0);
}

// ---- Memory ----------------------------------------------------------------------------------------------------------------------------

export interface FieldMemory {
  readonly view: DataView;
  readonly offset: number;
  readonly axes: readonly MemoryAxis[];
}
export interface Context {
  slot(name: string): number;
  memory(view: TileView): FieldMemory;
}

function bindMemory(kernel: TileKernel, buffers: Readonly<Record<string, Uint8Array>>, values: Readonly<Record<string, number>>): Context["memory"] {
  const fields = new Map<string, FieldMemory>();
  for (const p of kernel.params) {
    const bytes = buffers[p.name];
    const needed = evaluate(p.bytes, values);
    if (!bytes || bytes.byteLength < needed) {
      const has = `${kernel.name}: buffer "${p.name}" has ${bytes?.byteLength ?? "no"} bytes`;
      throw new RangeError(`${has}, but needs ${needed}. Check the buffer and the dims.`);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (const f of p.fields) {
      const axes = [...p.axes, ...f.axes].map((a) => ({ size: evaluate(a.size, values), stride: evaluate(a.stride, values) }));
      fields.set(`${p.name}.${f.name}`, { view, offset: f.offset, axes });
    }
  }
  return ({ param, field }) => fields.get(`${param}.${field}`)!;
}

/** Where a view lies in memory for a block of the grid; `axes` is the order of the tile's elements. */
function spansOf(view: TileView, axes: readonly Axis[], cx: Context): (block: Block) => Span[] {
  const parts = view.coords.map((c) => {
    if (c.kind === "Index") return { start: scalar(c.at, cx), count: 1, step: 0 };
    return { start: scalar(c.start, cx), count: c.axis.extent, step: stridesFor(axes, [c.axis.name])[0]! };
  });
  return ({ scalars }) => parts.map((p) => ({ start: p.start(scalars), count: p.count, step: p.step }));
}

// ---- Scalars and statements ------------------------------------------------------------------------------------------------------------

export function scalar(e: Expr, cx: Context): Scalar {
  const { lines, value } = exprText(e, (name) => `scalars[${cx.slot(name)}]`);
  return new Function(...library.names, `return (scalars) => { ${lines.join(" ")} return ${value}; };`)(...library.values) as Scalar;
}

function compileBody(body: readonly TileStmt[], cx: Context): Step {
  const steps = body.map((s) => compileStmt(s, cx));
  return (block) => {
    for (const step of steps) step(block);
  };
}

function compileStmt(s: TileStmt, cx: Context): Step {
  switch (s.kind) {
    case "Define": {
      const make = compileOp(s.op, s.value, cx);
      return (block) => void (block.tiles[s.value.id] = make(block));
    }
    case "Let": {
      const [to, from] = [cx.slot(s.scalar.name), scalar(s.expr, cx)];
      return ({ scalars }) => void (scalars[to] = from(scalars));
    }
    case "ToScalar": {
      const to = cx.slot(s.scalar.name);
      return ({ scalars, tiles }) => void (scalars[to] = tiles[s.of.id]![0]!);
    }
    case "For":
      return compileFor(s, cx);
    case "If": {
      const cond = scalar(s.cond, cx);
      const ways = (["then", "otherwise"] as const).map((way) => {
        const body = compileBody(s[way], cx);
        const join = copier(s.tiles.map((m) => [m.result, m[way]]), s.scalars.map((m) => [m.result.name, m[way].name]), cx);
        return (block: Block) => (body(block), join(block));
      });
      return (block) => ways[cond(block.scalars) !== 0 ? 0 : 1]!(block);
    }
    case "Store": {
      const spans = spansOf(s.view, s.of.axes, cx);
      const keep = s.keep && arranger(s.keep.axes, s.of.axes);
      return (block) => {
        const { view, axes, offset } = cx.memory(s.view);
        writeBlock(s.view.dtype, view, axes, spans(block), offset, block.tiles[s.of.id]!, keep?.(block.tiles[s.keep!.id]!));
      };
    }
    case "Histogram":
      return ({ histograms }) => void histograms.set(s.name, new Float64Array(s.bins));
    case "HistogramAdd": {
      const keep = keeper(s.keep, s.bin.axes, cx);
      return (block) => {
        const [counters, kept] = [block.histograms.get(s.histogram)!, keep(block)];
        block.tiles[s.bin.id]!.forEach((bin, i) => {
          if (kept[i] === 0) return;
          if (!(bin >= 0 && bin < counters.length)) {
            throw new RangeError(`${s.histogram}: bin ${bin} is outside the ${counters.length} bins. Exclude the element in the mask.`);
          }
          counters[bin]!++;
        });
      };
    }
    case "HistogramFind": {
      const [bin, above, inBin, want] = [cx.slot(s.bin.name), cx.slot(s.above.name), cx.slot(s.inBin.name), scalar(s.want, cx)];
      return ({ histograms, scalars }) => {
        const counters = histograms.get(s.histogram)!;
        const wanted = want(scalars);
        let at = counters.length - 1;
        let count = 0;
        while (at > 0 && count + counters[at]! < wanted) count += counters[at--]!;
        scalars[bin] = at;
        scalars[above] = count;
        scalars[inBin] = counters[at]!;
      };
    }
    case "Bag":
      return ({ bags }) => void bags.set(s.name, { count: 0, columns: s.fields.map(() => new Float64Array(s.capacity)) });
    case "BagAdd": {
      const keep = keeper(s.keep, s.keep.axes, cx);
      const orders = s.items.map((v) => arranger(v.axes, s.keep.axes));
      return (block) => {
        const bag = block.bags.get(s.bag)!;
        const values = s.items.map((v, f) => orders[f]!(block.tiles[v.id]!));
        keep(block).forEach((kept, i) => {
          if (kept === 0) return;
          const at = bag.count++;
          bag.columns.forEach((column, f) => (column[at] = values[f]![i]!)); // beyond the capacity nothing is stored
        });
      };
    }
    case "BagCount": {
      const to = cx.slot(s.scalar.name);
      return ({ bags, scalars }) => void (scalars[to] = bags.get(s.bag)!.count);
    }
    case "Bitmap":
      return ({ bitmaps }) => void bitmaps.set(s.name, new Uint8Array(s.size));
    case "BitmapAdd": {
      const keep = keeper(s.keep, s.position.axes, cx);
      return (block) => {
        const [bits, kept] = [block.bitmaps.get(s.bitmap)!, keep(block)];
        block.tiles[s.position.id]!.forEach((position, i) => {
          if (kept[i] === 0) return;
          if (!(position >= 0 && position < bits.length)) {
            throw new RangeError(`${s.bitmap}: position ${position} is outside the ${bits.length} positions. Exclude the element in the mask.`);
          }
          bits[position] = 1;
        });
      };
    }
    case "AppendMarked": {
      const limit = scalar(s.limit, cx);
      return ({ appends, bitmaps, scalars, tiles }) => {
        const [list, values] = [appends.get(s.append)!, tiles[s.of.id]!];
        bitmaps.get(s.bitmap)!.forEach((bit, position) => {
          if (bit === 0) return;
          if (position >= limit(scalars)) throw new RangeError(`${s.bitmap}: position ${position} is marked, which is not below the limit ${limit(scalars)}.`);
          if (list.count < list.capacity) list.write(list.count++, values[position]!);
        });
      };
    }
    case "Append":
      return compileAppend(s, cx);
    case "AppendPush": {
      const keep = arranger(s.keep.axes, s.of.axes);
      return ({ appends, tiles }) => {
        const [list, kept] = [appends.get(s.append)!, keep(tiles[s.keep.id]!)];
        tiles[s.of.id]!.forEach((value, i) => {
          if (kept[i] !== 0 && list.count < list.capacity) list.write(list.count++, value);
        });
      };
    }
    case "AppendFill": {
      const value = scalar(s.value, cx);
      return ({ appends, scalars }) => {
        const list = appends.get(s.append)!;
        for (let at = list.count; at < list.capacity; at++) list.write(at, value(scalars));
      };
    }
    case "AppendCount": {
      const to = cx.slot(s.scalar.name);
      return ({ appends, scalars }) => void (scalars[to] = appends.get(s.append)!.count);
    }
  }
}

/** Copies values to variables, all at once: a loop may swap two of them. */
export function copier(tiles: readonly (readonly [TileValue, TileValue])[], scalars: readonly (readonly [string, string])[], cx: Context): Step {
  const slots = scalars.map(([to, from]) => [cx.slot(to), cx.slot(from)] as const);
  return (block) => {
    const newTiles = tiles.map(([, from]) => block.tiles[from.id]!);
    const newScalars = slots.map(([, from]) => block.scalars[from]!);
    tiles.forEach(([to], i) => (block.tiles[to.id] = newTiles[i]!));
    slots.forEach(([to], i) => (block.scalars[to] = newScalars[i]!));
  };
}

function compileFor(s: Extract<TileStmt, { kind: "For" }>, cx: Context): Step {
  const [lo, hi, index] = [scalar(s.lo, cx), scalar(s.hi, cx), cx.slot(s.index.name)];
  const body = compileBody(s.body, cx);
  const move = (from: "init" | "next" | "param", to: "param" | "result") =>
    copier(s.tiles.map((c) => [c[to], c[from]]), s.scalars.map((c) => [c[to].name, c[from].name]), cx);
  const [enter, advance, leave] = [move("init", "param"), move("next", "param"), move("param", "result")];
  return (block) => {
    enter(block);
    const end = hi(block.scalars);
    for (let i = lo(block.scalars); i < end; i += s.step) {
      block.scalars[index] = i;
      body(block);
      advance(block);
    }
    leave(block);
  };
}

function compileAppend(s: Extract<TileStmt, { kind: "Append" }>, cx: Context): Step {
  const axes = s.view.coords.flatMap((c) => (c.kind === "Block" ? [c.axis] : []));
  const spans = spansOf(s.view, axes, cx);
  const one = new Float64Array(1);
  return (block) => {
    const { view, axes: memory, offset } = cx.memory(s.view);
    const placed = spans(block);
    block.appends.set(s.name, {
      count: 0,
      capacity: sizeOf(axes),
      write(position, value) {
        one[0] = value;
        writeBlock(s.view.dtype, view, memory, placed.map((p) => (p.step === 0 ? p : { start: p.start + position, count: 1, step: 1 })), offset, one);
      },
    });
  };
}

/** The truth values of a mask in another order of its axes, false for items that a bag does not hold. */
function keeper(keep: TileValue, to: readonly Axis[], cx: Context): (block: Block) => Float64Array {
  const order = arranger(keep.axes, to);
  const present = presence(to, cx);
  return (block) => {
    const kept = order(block.tiles[keep.id]!);
    return present ? kept.map((k, i) => (k !== 0 && present(block, i) ? 1 : 0)) : kept;
  };
}

/** Whether the element at an index exists, for tiles along items of bags. */
function presence(axes: readonly Axis[], cx: Context): ((block: Block, index: number) => boolean) | undefined {
  const checks = axes.flatMap((axis, i) => (axis.held ? [{ held: scalar(axis.held, cx), below: sizeOf(axes.slice(i + 1)), extent: axis.extent }] : []));
  if (checks.length === 0) return undefined;
  return ({ scalars }, index) => checks.every(({ held, below, extent }) => Math.floor(index / below) % extent < held(scalars));
}

// ---- Tiles -----------------------------------------------------------------------------------------------------------------------------

/** The elements of a tile in another order of its axes; the tile itself where the order is the same. */
function arranger(from: readonly Axis[], to: readonly Axis[]): (data: Float64Array) => Float64Array {
  if (to.every((a, i) => from[i]?.name === a.name)) return (data) => data;
  const strides = stridesFor(from, to.map((a) => a.name));
  const order = new Int32Array(sizeOf(to));
  let at = 0;
  const walk = (axis: number, index: number): void => {
    if (axis === to.length) order[at++] = index;
    else for (let i = 0; i < to[axis]!.extent; i++) walk(axis + 1, index + i * strides[axis]!);
  };
  walk(0, 0);
  return (data) => {
    const out = new Float64Array(order.length);
    for (let i = 0; i < out.length; i++) out[i] = data[order[i]!]!;
    return out;
  };
}

function rounder(dtype: TileType): (data: Float64Array) => Float64Array {
  if (dtype === "bool") return (data) => data;
  return (data) => {
    for (let i = 0; i < data.length; i++) data[i] = round(dtype, data[i]!);
    return data;
  };
}

export function compileOp(op: TileOp, v: TileValue, cx: Context): (block: Block) => Float64Array {
  const size = sizeOf(v.axes);
  switch (op.kind) {
    case "Load": {
      const [spans, fill] = [spansOf(op.view, v.axes, cx), scalar(op.fill, cx)];
      return (block) => {
        const { view, axes, offset } = cx.memory(op.view);
        const out = new Float64Array(size).fill(round(op.view.dtype, fill(block.scalars)));
        readBlock(op.view.dtype, view, axes, spans(block), offset, out, 0);
        return out;
      };
    }
    case "Gather":
      return compileGather(op, v, cx);
    case "Full": {
      const value = scalar(op.value, cx);
      return ({ scalars }) => new Float64Array(size).fill(v.dtype === "bool" ? value(scalars) : round(v.dtype, value(scalars)));
    }
    case "Iota": {
      const start = scalar(op.start, cx);
      return ({ scalars }) => {
        const first = start(scalars);
        return new Float64Array(size).map((_, i) => first + i);
      };
    }
    case "Slice": {
      const from = op.of.axes.map((a) => (a.name === op.axis ? { ...a, extent: v.axes.find((b) => b.name === op.axis)!.extent } : a));
      const pick = window(op.of.axes, from, op.axis, op.start);
      const order = arranger(from, v.axes);
      return ({ tiles }) => order(pick(tiles[op.of.id]!));
    }
    case "Rename": {
      const order = arranger(op.of.axes.map((a) => ({ ...a, name: op.axes[a.name] ?? a.name })), v.axes);
      return ({ tiles }) => order(tiles[op.of.id]!);
    }
    case "Cast": {
      const [order, finish] = [arranger(op.of.axes, v.axes), rounder(v.dtype)];
      return ({ tiles }) => finish(order(tiles[op.of.id]!).slice());
    }
    case "Map":
      return compileMap(op, v, cx);
    case "Reduce": {
      const kept = op.of.axes.filter((a) => !op.over.includes(a.name));
      const gone = op.of.axes.filter((a) => op.over.includes(a.name));
      const [order, back, finish] = [arranger(op.of.axes, [...kept, ...gone]), arranger(kept, v.axes), rounder(v.dtype)];
      const count = sizeOf(gone);
      const present = presence([...kept, ...gone], cx);
      const nothing = identities[op.fn][v.dtype as "f32" | "i32" | "u32"];
      return (block) => {
        const values = order(block.tiles[op.of.id]!);
        const there = present ? values.map((x, i) => (present(block, i) ? x : nothing)) : values;
        return back(finish(fold(op.fn, there, count).filter((_, i) => i % count === count - 1)));
      };
    }
    case "Scan": {
      const last = [...op.of.axes.filter((a) => a.name !== op.axis), op.of.axes.find((a) => a.name === op.axis)!];
      const [order, back, finish] = [arranger(op.of.axes, last), arranger(last, v.axes), rounder(v.dtype)];
      return ({ tiles }) => back(finish(fold(op.fn, order(tiles[op.of.id]!), last.at(-1)!.extent)));
    }
    case "Gemm":
      return compileGemm(op, v);
    case "Counts":
      return ({ histograms }) => histograms.get(op.histogram)!.slice();
    case "Items":
      return ({ bags }) => bags.get(op.bag)!.columns[op.field]!;
  }
}

/** Positions [start, …) of one axis. */
function window(from: readonly Axis[], to: readonly Axis[], axis: string, start: number): (data: Float64Array) => Float64Array {
  const at = from.findIndex((a) => a.name === axis);
  const inner = sizeOf(from.slice(at + 1));
  const [whole, part] = [from[at]!.extent * inner, to[at]!.extent * inner];
  return (data) => {
    const out = new Float64Array(sizeOf(to));
    for (let o = 0, i = start * inner; o < out.length; o += part, i += whole) out.set(data.subarray(i, i + part), o);
    return out;
  };
}

function compileGather(op: Extract<TileOp, { kind: "Gather" }>, v: TileValue, cx: Context): (block: Block) => Float64Array {
  const spans = spansOf(op.view, v.axes, cx);
  const indexAxes = op.picks[0]!.index.axes;
  const orders = op.picks.map((p) => arranger(p.index.axes, indexAxes));
  const outSteps = stridesFor(v.axes, indexAxes.map((a) => a.name));
  const positions = new Int32Array(sizeOf(indexAxes)).map((_, j) => {
    let rest = j;
    return indexAxes.reduceRight((at, a, i) => {
      const digit = rest % a.extent;
      rest = (rest - digit) / a.extent;
      return at + digit * outSteps[i]!;
    }, 0);
  });
  return (block) => {
    const { view, axes, offset } = cx.memory(op.view);
    const out = new Float64Array(sizeOf(v.axes));
    const placed = spans(block);
    const runs = op.picks.map((p) => (op.view.coords[p.coord]!.kind === "Block" ? placed[p.coord]! : { start: 0, count: 1, step: 0 }));
    const indices = op.picks.map((p, i) => orders[i]!(block.tiles[p.index.id]!));
    for (let j = 0; j < positions.length; j++) {
      op.picks.forEach((p, i) => (placed[p.coord] = { ...runs[i]!, start: runs[i]!.start + indices[i]![j]! }));
      readBlock(op.view.dtype, view, axes, placed, offset, out, positions[j]!);
    }
    return out;
  };
}

const rounded: Readonly<Record<string, (text: string) => string>> = {
  f32: (x) => `Math.fround(${x})`,
  i32: (x) => `${x} | 0`,
  u32: (x) => `${x} >>> 0`,
  bool: (x) => x,
};

/** One generated function: nested loops over the result's axes around the body's text. */
function compileMap(op: Extract<TileOp, { kind: "Map" }>, v: TileValue, cx: Context): (block: Block) => Float64Array {
  const names = v.axes.map((a) => a.name);
  const element = new Map(
    op.inputs.map((t, i) => {
      const steps = stridesFor(t.axes, names).flatMap((stride, axis) => (stride === 0 ? [] : [`i${axis} * ${stride}`]));
      return [op.params[i]!, `in${i}[${steps.join(" + ") || "0"}]`] as const;
    }),
  );
  const { lines, value } = exprText(op.body, (name) => element.get(name) ?? `scalars[${cx.slot(name)}]`);
  const head = v.axes.map((a, i) => `for (let i${i} = 0; i${i} < ${a.extent}; i${i}++)`).join(" ");
  const body = `${lines.join(" ")} out[at++] = ${rounded[v.dtype]!(value)};`;
  const text = `return (out, scalars, ${op.inputs.map((_, i) => `in${i}`).join(", ")}) => { let at = 0; ${head} { ${body} } return out; };`;
  const run = new Function(...library.names, text)(...library.values) as (...args: readonly unknown[]) => Float64Array;
  return ({ tiles, scalars }) => run(new Float64Array(sizeOf(v.axes)), scalars, ...op.inputs.map((t) => tiles[t.id]!));
}

/** What a reduction makes of no elements. */
const identities: Readonly<Record<ReduceFn, Readonly<Record<"f32" | "i32" | "u32", number>>>> = {
  sum: { f32: 0, i32: 0, u32: 0 },
  max: { f32: -Infinity, i32: -(2 ** 31), u32: 0 },
  min: { f32: Infinity, i32: 2 ** 31 - 1, u32: 2 ** 32 - 1 },
};
const starts: Readonly<Record<ReduceFn, number>> = { sum: 0, max: -Infinity, min: Infinity };

/** Running sums, maxima or minima that start anew every `count` elements; maxima and minima skip NaN. */
function fold(fn: ReduceFn, from: Float64Array, count: number): Float64Array {
  const out = new Float64Array(from.length);
  for (let i = 0, running = 0; i < from.length; i++) {
    if (i % count === 0) running = starts[fn];
    const x = from[i]!;
    if (fn === "sum") running += x;
    else if (fn === "max" ? x > running : x < running) running = x;
    out[i] = running;
  }
  return out;
}

/** Accumulates in f64 and rounds once. */
function compileGemm(op: Extract<TileOp, { kind: "Gemm" }>, v: TileValue): (block: Block) => Float64Array {
  const { a, b, over, acc } = op;
  const has = (t: TileValue, axis: Axis): boolean => t.axes.some((x) => x.name === axis.name);
  const inner = a.axes.filter((x) => over.includes(x.name));
  const batch = a.axes.filter((x) => has(b, x) && !over.includes(x.name));
  const rows = a.axes.filter((x) => !has(b, x));
  const columns = b.axes.filter((x) => !has(a, x));
  const result = [...batch, ...rows, ...columns];
  const orders = { a: arranger(a.axes, [...batch, ...rows, ...inner]), b: arranger(b.axes, [...batch, ...columns, ...inner]) };
  const [before, after, finish] = [arranger(acc?.axes ?? [], result), arranger(result, v.axes), rounder("f32")];
  const [nBatch, nRows, nColumns, nInner] = [batch, rows, columns, inner].map(sizeOf) as [number, number, number, number];
  return ({ tiles }) => {
    const [x, y] = [orders.a(tiles[a.id]!), orders.b(tiles[b.id]!)];
    const out = acc ? before(tiles[acc.id]!).slice() : new Float64Array(nBatch * nRows * nColumns);
    for (let g = 0, to = 0; g < nBatch; g++) {
      for (let r = 0; r < nRows; r++) {
        const row = (g * nRows + r) * nInner;
        for (let c = 0; c < nColumns; c++, to++) {
          const column = (g * nColumns + c) * nInner;
          let total = 0;
          for (let k = 0; k < nInner; k++) total += x[row + k]! * y[column + k]!;
          out[to]! += total;
        }
      }
    }
    return after(finish(out));
  };
}
