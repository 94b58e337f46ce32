/** Binds the arguments of a kernel to buffers: values of the dims, strides, and tensors over the bytes. Not part of the language. */
import type { Args, GlobalsOf, RecordArg, TensorArg } from "./args.ts";
import { byteSize } from "./dtype.ts";
import { Tensor } from "./memory.ts";
import { didYouMean, quoteAll } from "./names.ts";
import { product } from "./tile.ts";

export type Buffers = Readonly<Record<string, Uint8Array>>;
export type DimValues = Readonly<Record<string, number>>;
type Arg = TensorArg | RecordArg;

/**
 * The tensors of a kernel's arguments over the callers' bytes, without a copy.
 * Dims that are not given follow from the byte lengths of packed arguments; pitches that are not given are packed.
 */
export function bind<P extends Args>(kernel: string, args: P, buffers: Buffers, given: DimValues): GlobalsOf<P> {
  checkNames(kernel, args, buffers, given);
  const dims = solveDims(kernel, args, buffers, given);
  const globals = Object.entries(args).map(([name, arg]) => [
    name,
    bindArg(`${kernel}: argument "${name}"`, name, arg, buffers[name]!, dims),
  ]);
  return Object.fromEntries(globals) as GlobalsOf<P>;
}

/** Bytes of one element of the array that the dims of an argument span. */
const itemBytes = (arg: Arg): number => (arg.kind === "tensor" ? byteSize(arg.dtype) : arg.bytes);

/** Dims that are strides of an argument, by axis. */
const pitchesOf = (arg: Arg): Readonly<Record<string, string>> => {
  if (arg.kind === "tensor") return arg.pitch;
  const outermost = Object.keys(arg.dims)[0];
  return arg.pitch === undefined || outermost === undefined ? {} : { [outermost]: arg.pitch };
};

function checkNames(kernel: string, args: Args, buffers: Buffers, given: DimValues): void {
  const names = Object.keys(args);
  for (const name of Object.keys(buffers)) {
    if (!names.includes(name)) {
      throw new TypeError(`${kernel}: no argument is called "${name}".${didYouMean(name, names)} The arguments are ${quoteAll(names)}.`);
    }
  }
  for (const name of names) {
    if (!(buffers[name] instanceof Uint8Array)) {
      throw new TypeError(`${kernel}: argument "${name}" has no buffer. Give a Uint8Array of its bytes.`);
    }
  }
  const dims = new Set(
    Object.values(args)
      .flatMap((arg) => [...Object.values(arg.dims), ...Object.values(pitchesOf(arg))])
      .filter((d) => typeof d === "string"),
  );
  for (const [name, value] of Object.entries(given)) {
    if (!dims.has(name)) {
      throw new TypeError(`${kernel}: no dim is called "${name}".${didYouMean(name, dims)} The dims are ${quoteAll(dims)}.`);
    }
    if (!(Number.isSafeInteger(value) && value >= 0)) {
      throw new RangeError(`${kernel}: dim "${name}" is ${value}. It must be an integer from 0 on.`);
    }
  }
}

/** Values of all dims that are extents. Takes one packed argument with one unknown extent after the other until no more follows. */
function solveDims(kernel: string, args: Args, buffers: Buffers, given: DimValues): DimValues {
  const dims: Record<string, number> = { ...given };
  const extent = (size: number | string): number | undefined => (typeof size === "number" ? size : dims[size]);
  const packed = Object.entries(args).filter(([, arg]) => Object.values(pitchesOf(arg)).every((pitch) => !Object.hasOwn(given, pitch)));
  for (let progress = true; progress; ) {
    progress = false;
    for (const [name, arg] of packed) {
      const sizes = Object.values(arg.dims);
      const unknown = sizes.filter((size): size is string => extent(size) === undefined);
      if (unknown.length !== 1) continue;
      const unit = itemBytes(arg) * product(sizes.map((size) => extent(size) ?? 1));
      const value = buffers[name]!.byteLength / unit;
      if (unit === 0) continue;
      if (!Number.isInteger(value)) {
        throw new RangeError(
          `${kernel}: argument "${name}" has ${buffers[name]!.byteLength} bytes, ` +
            `which is no multiple of ${unit}, the bytes for one step of "${unknown[0]}".`,
        );
      }
      dims[unknown[0]!] = value;
      progress = true;
    }
  }
  const missing = Object.values(args)
    .flatMap((arg) => Object.values(arg.dims))
    .filter((size) => extent(size) === undefined);
  if (missing.length > 0) {
    throw new RangeError(
      `${kernel}: the dims ${quoteAll(new Set(missing.map(String)))} do not follow from the buffers. Give them as dims.`,
    );
  }
  return dims;
}

interface Axis {
  readonly name: string;
  readonly size: number;
  /** Bytes from one index to the next. */
  readonly stride: number;
}

/** Axes of an argument, outermost first. */
function layOut(where: string, arg: Arg, dims: DimValues): Axis[] {
  const unit = arg.kind === "tensor" ? itemBytes(arg) : 1; // pitches of tensors count elements, those of records bytes
  const pitches = pitchesOf(arg);
  const axes: Axis[] = [];
  let packed = itemBytes(arg);
  for (const [name, extent] of Object.entries(arg.dims).reverse()) {
    const size = typeof extent === "number" ? extent : dims[extent]!;
    const pitch = dims[pitches[name] ?? ""];
    const stride = pitch === undefined ? packed : pitch * unit;
    if (stride < packed && size > 1) {
      const least = `${packed / unit} ${arg.kind === "tensor" ? "elements" : "bytes"}`;
      throw new RangeError(`${where}: "${pitches[name]}" is ${pitch}, but axis "${name}" needs at least ${least} from index to index.`);
    }
    axes.unshift({ name, size, stride });
    packed = stride * size;
  }
  return axes;
}

function checkBytes(where: string, arg: Arg, axes: readonly Axis[], actual: number, dims: DimValues): void {
  const empty = axes.some((axis) => axis.size === 0);
  const needed = empty ? 0 : axes.reduce((bytes, axis) => bytes + (axis.size - 1) * axis.stride, itemBytes(arg));
  const pitched = Object.values(pitchesOf(arg)).some((pitch) => Object.hasOwn(dims, pitch));
  if (pitched ? actual >= needed : actual === needed) return;
  const shape = axes.map((axis) => `${axis.name} ${axis.size}`).join(", ");
  throw new RangeError(
    `${where} has ${actual} bytes, but (${shape}) needs ${pitched ? "at least " : ""}${needed}. Check the buffer and the dims.`,
  );
}

function bindArg(where: string, name: string, arg: Arg, bytes: Uint8Array, dims: DimValues): unknown {
  const axes = layOut(where, arg, dims);
  checkBytes(where, arg, axes, bytes.byteLength, dims);
  const memory = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = Object.fromEntries(axes.map((axis) => [axis.name, axis.size]));
  const strides = Object.fromEntries(axes.map((axis) => [axis.name, axis.stride]));
  if (arg.kind === "tensor") return new Tensor(arg.dtype, size, { name, access: arg.access, memory, offset: 0, strides });
  const fields = Object.entries(arg.fields).map(([fieldName, part]) => {
    const layout = {
      name: `${name}.${fieldName}`,
      access: arg.access,
      memory,
      offset: part.offset,
      strides: { ...strides, ...packedStrides(part.dims, byteSize(part.dtype)) },
    };
    return [fieldName, new Tensor(part.dtype, { ...size, ...part.dims }, layout)];
  });
  return { ...Object.fromEntries(fields), size };
}

function packedStrides(dims: Readonly<Record<string, number>>, element: number): Record<string, number> {
  const strides: Record<string, number> = {};
  let stride = element;
  for (const [axis, extent] of Object.entries(dims).reverse()) {
    strides[axis] = stride;
    stride *= extent;
  }
  return strides;
}
