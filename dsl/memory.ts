/** Tensors over the bytes of device buffers. Authors see them as `Global`. */
import type { DType } from "./dtype.ts";
import { didYouMean, quoteAll } from "./names.ts";
import type { AnyGlobal, AnyView, Range } from "./types.ts";

/** What a kernel may do with an argument. */
export type Access = "in" | "out";

/** Where the elements of a tensor lie. */
export interface Layout {
  /** `argument` or `argument.field`, for messages. */
  readonly name: string;
  readonly access: Access;
  readonly memory: DataView;
  /** Byte offset of the first element. */
  readonly offset: number;
  /** Bytes from one index of an axis to the next, by axis. */
  readonly strides: Readonly<Record<string, number>>;
}

/** What a kernel's body sees as a `Global`, without the types of dtype and axes. */
export class Tensor implements AnyGlobal {
  readonly dtype: DType;
  readonly axes: readonly string[];
  readonly size: Readonly<Record<string, number>>;
  readonly layout: Layout;

  constructor(dtype: DType, size: Readonly<Record<string, number>>, layout: Layout) {
    this.dtype = dtype;
    this.axes = Object.keys(size);
    this.size = size;
    this.layout = layout;
  }

  tile(selection: Readonly<Record<string, number | Range>>): AnyView {
    for (const [axis, at] of Object.entries(selection)) this.checkSelection(axis, at);
    return { dtype: this.dtype, global: this, selection, axes: this.axes.filter((a) => typeof selection[a] !== "number") };
  }

  private checkSelection(axis: string, at: number | Range): void {
    const where = `${this.layout.name}.tile({ ${axis} })`;
    if (!Object.hasOwn(this.size, axis)) {
      throw new TypeError(`${where}: "${this.layout.name}" has the axes ${quoteAll(this.axes)}.${didYouMean(axis, this.axes)}`);
    }
    if (typeof at === "number") {
      if (!Number.isSafeInteger(at)) {
        throw new TypeError(`${where}: index ${at} is not an integer. Use div(a, b) where an integer is divided.`);
      }
    } else if (at.axis !== axis) {
      throw new TypeError(`${where}: the range runs along axis "${at.axis}". Give a range made for "${axis}".`);
    } else if (!Number.isSafeInteger(at.start) || !(Number.isSafeInteger(at.size) && at.size > 0)) {
      throw new RangeError(
        `${where}: a range needs an integer start and a positive integer size, not start ${at.start} and size ${at.size}.`,
      );
    }
  }
}

/** The tensor behind a view. */
export function tensorOf(view: AnyView): Tensor {
  if (view.global instanceof Tensor) return view.global;
  throw new TypeError("a view must come from .tile(...) of a kernel argument.");
}
