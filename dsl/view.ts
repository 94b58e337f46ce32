/** Geometry of views, and what may be done through them. Not part of the language. */
import { isFloat, type DType, type FloatType } from "./dtype.ts";
import { tensorOf, type Tensor } from "./memory.ts";
import { extents, product, type Shape } from "./tile.ts";
import type { AnyView, Range, TileType } from "./types.ts";

/** Dtypes that `store` converts to D by rounding. Everything else needs a `cast`. */
export type Storable<D extends DType> = D extends FloatType ? FloatType : D;

/** The tensor of a view that `operation` writes values of `dtype` to. */
export function writable(operation: string, view: AnyView, dtype: TileType): Tensor {
  const tensor = tensorOf(view);
  const { name, access } = tensor.layout;
  if (access !== "out") throw new TypeError(`${operation}: "${name}" is an input. Declare it with output(...) to write it.`);
  const fits = dtype === view.dtype || (isFloat(dtype) && isFloat(view.dtype));
  if (!fits) {
    throw new TypeError(`${operation}: ${dtype} values do not go into "${name}", which is ${view.dtype}. Use cast("${view.dtype}", tile).`);
  }
  return tensor;
}

/** The tensor of a view that `operation` reads. */
export function readable(operation: string, view: AnyView): Tensor {
  const tensor = tensorOf(view);
  if (tensor.layout.access === "in") return tensor;
  throw new TypeError(
    `${operation}: "${tensor.layout.name}" is an output, which blocks write in any order. Keep the tile that was stored instead.`,
  );
}

const startOf = (at: number | Range | undefined): number => (typeof at === "object" ? at.start : (at ?? 0));

/** Extents of a view's axes. */
export function shapeOf(view: AnyView): Shape {
  const extent = (axis: string): number => {
    const at = view.selection[axis];
    return typeof at === "object" ? at.size : view.global.size[axis]!;
  };
  return Object.fromEntries(view.axes.map((axis) => [axis, extent(axis)]));
}

/** The part of a view that lies inside its tensor: byte strides in memory and element strides in a row-major block of `axes`. */
export interface Box {
  readonly sizes: readonly number[];
  readonly bytes: readonly number[];
  readonly elements: readonly number[];
  readonly firstByte: number;
  readonly firstElement: number;
}

/** `axes` are those of the view that the block has, in the tensor's order. Undefined when nothing of the block is inside. */
export function insideBox(tensor: Tensor, view: AnyView, axes: readonly string[], shape: Shape): Box | undefined {
  const { strides, offset } = tensor.layout;
  let firstByte = offset;
  let firstElement = 0;
  const sizes: number[] = [];
  const elements: number[] = [];
  for (const axis of tensor.axes) {
    const start = startOf(view.selection[axis]);
    const at = axes.indexOf(axis);
    const lo = Math.max(0, -start);
    const hi = Math.min(at < 0 ? 1 : shape[axis]!, tensor.size[axis]! - start);
    if (hi <= lo) return undefined;
    firstByte += (start + lo) * strides[axis]!;
    if (at < 0) continue;
    const step = product(extents(axes.slice(at + 1), shape));
    firstElement += lo * step;
    sizes.push(hi - lo);
    elements.push(step);
  }
  return { sizes, bytes: axes.map((a) => strides[a]!), elements, firstByte, firstElement };
}
