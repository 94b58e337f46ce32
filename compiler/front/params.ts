/** Argument declarations (`dsl/args.ts`) to the params and dims of Tile IR: byte strides, required bytes, pitches with packed defaults. */
import type { Args, RecordArg, TensorArg } from "../../dsl/args.ts";
import { byteSize } from "../../dsl/dtype.ts";
import { diagnostic, type Span } from "../diagnostics.ts";
import type { AxisSize, Dim, Field, HostExpr, Param } from "../ir/manifest.ts";
import { type GlobalRef, kind, scalarRef, type Value } from "./value.ts";

export interface Arguments {
  readonly params: readonly Param[];
  readonly dims: readonly Dim[];
  /** What the grid and the body see as `a`. */
  readonly globals: Readonly<Record<string, Value>>;
}

/** Reads all declarations of a kernel. */
export function readArguments(args: Args, span: Span): Arguments {
  const dims = new Map<string, Dim>();
  const params = Object.entries(args).map(([name, arg]) => toParam(name, arg, dims, span));
  return { params, dims: [...dims.values()], globals: Object.fromEntries(params.map((p) => [p.name, globalsOf(p, args[p.name]!)])) };
}

const times = (a: HostExpr, b: HostExpr): HostExpr => {
  if (typeof a === "number" && typeof b === "number") return a * b;
  return a === 1 ? b : b === 1 ? a : { op: "mul", args: [a, b] };
};
const plus = (a: HostExpr, b: HostExpr): HostExpr => (typeof a === "number" && typeof b === "number" ? a + b : { op: "add", args: [a, b] });

function toParam(name: string, arg: TensorArg | RecordArg, dims: Map<string, Dim>, span: Span): Param {
  const addDim = (dim: Dim): void => {
    const known = dims.get(dim.name);
    if (known && JSON.stringify(known.default) !== JSON.stringify(dim.default)) {
      const say = (d: Dim) => (d.default === undefined ? "a size" : `a pitch of ${JSON.stringify(d.default)} by default`);
      throw diagnostic("E-DIM-02", span, { dim: dim.name, a: say(known), b: say(dim) });
    }
    dims.set(dim.name, dim);
  };
  for (const size of Object.values(arg.dims)) if (typeof size === "string") addDim({ name: size });
  // pitches of tensors count elements, those of records bytes
  const unit = arg.kind === "tensor" ? byteSize(arg.dtype) : 1;
  const item = arg.kind === "tensor" ? unit : arg.bytes;
  const pitches = pitchesOf(arg);
  const axes: AxisSize[] = [];
  let packed: HostExpr = item / unit; // in units
  let bytes: HostExpr = item;
  let dense = true;
  for (const [axis, size] of Object.entries(arg.dims).reverse()) {
    const pitch = pitches[axis];
    if (pitch !== undefined) addDim({ name: pitch, default: packed });
    const step = pitch ?? packed;
    const stride = times(step, unit);
    axes.unshift({ axis, size, stride });
    dense &&= pitch === undefined;
    const steps: HostExpr = typeof size === "number" ? size - 1 : { op: "sub", args: [size, 1] };
    bytes = dense ? times(size, bytes) : plus(times(steps, stride), bytes);
    packed = times(size, step);
  }
  const fields =
    arg.kind === "tensor"
      ? [{ name: "", dtype: arg.dtype, offset: 0, axes: [], ...promises(arg) }]
      : Object.entries(arg.fields).map(([field, part]) => toField(field, part));
  return { name, access: arg.access, axes, fields, bytes };
}

/** Dims that are strides of an argument, by axis: any of a tensor, the outermost of a record. */
function pitchesOf(arg: TensorArg | RecordArg): Readonly<Record<string, string>> {
  if (arg.kind === "tensor") return arg.pitch;
  const [outermost] = Object.keys(arg.dims);
  return arg.pitch === undefined || outermost === undefined ? {} : { [outermost]: arg.pitch };
}

function toField(name: string, part: RecordArg["fields"][string]): Field {
  const axes: AxisSize[] = [];
  let stride = byteSize(part.dtype);
  for (const [axis, size] of Object.entries(part.dims).reverse()) {
    axes.unshift({ axis, size, stride });
    stride *= size;
  }
  return { name, dtype: part.dtype, offset: part.offset, axes, ...promises(part) };
}
const promises = ({ nonNegative }: { readonly nonNegative?: boolean }): Pick<Field, "nonNegative"> => (nonNegative ? { nonNegative } : {});

function globalsOf(param: Param, arg: TensorArg | RecordArg): Value {
  const global = (field: Field): GlobalRef => ({
    [kind]: "Global",
    name: field.name === "" ? param.name : `${param.name}.${field.name}`,
    param: param.name,
    field: field.name,
    dtype: field.dtype,
    writable: param.access !== "in",
    axes: [...param.axes, ...field.axes].map(({ axis, size }) => ({ name: axis, size })),
  });
  if (arg.kind === "tensor") return global(param.fields[0]!);
  const size = sizesOf(param.axes.map(({ axis, size }) => ({ name: axis, size })));
  return { ...Object.fromEntries(param.fields.map((f) => [f.name, global(f)])), size };
}

/** `global.size`: numbers, or dims as run-time numbers. */
export const sizesOf = (axes: GlobalRef["axes"]): Readonly<Record<string, Value>> =>
  Object.fromEntries(axes.map(({ name, size }) => [name, typeof size === "string" ? scalarRef({ kind: "Var", type: "i32", name: size }) : size]));
