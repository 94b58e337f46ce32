/** A kernel's arguments and dims in the words of a program, and a program's dims and buffers in those of a kernel. */
import { type AxisSize, type Dim, evaluate, type HostExpr, type Manifest, type Param } from "../compiler/ir/manifest.ts";
import type { Flat, Words } from "../dsl/programs/program.ts";

/** One kernel of a program. */
export interface Translation {
  /** Arguments of the kernel, as the program calls them. */
  readonly params: readonly Param[];
  /** Dims of the program that the kernel takes as they are. */
  readonly dims: readonly Dim[];
  /** The kernel's dims. */
  dimsOf(dims: Readonly<Record<string, number>>): Record<string, number>;
  /** The kernel's buffers. */
  buffersOf<B>(buffers: Readonly<Record<string, B>>): Record<string, B>;
}

/** An inner axis that the spec does not count is a TypeError. */
export function translate(manifest: Manifest, { args = {}, dims: names = {}, flat }: Words = {}): Translation {
  const count = flat ? countOf(flat, manifest) : 1;
  const times = (e: HostExpr): HostExpr => (typeof e === "number" ? e * count : count === 1 ? e : { op: "mul", args: [e, count] });
  const wordsOf = (e: HostExpr): HostExpr => {
    if (typeof e === "number") return e;
    if (typeof e === "string") return flat && e === flat.dim ? times(flat.outer.dim) : (names[e] ?? e);
    return { ...e, args: e.args.map(wordsOf) };
  };
  const axesOf = ({ axis, size, stride: own }: AxisSize): AxisSize[] => {
    const stride = wordsOf(own);
    if (flat?.axis !== axis) return [{ axis, size: typeof size === "number" ? size : (names[size] ?? size), stride }];
    return [
      { axis: flat.outer.axis, size: flat.outer.dim, stride: times(stride) },
      { axis: flat.inner.axis, size: count, stride },
    ];
  };
  return {
    params: manifest.params.map((param) => ({ ...param, name: args[param.name] ?? param.name, axes: param.axes.flatMap(axesOf), bytes: wordsOf(param.bytes) })),
    dims: manifest.dims.filter(({ name }) => name !== flat?.dim).map((dim) => ({ ...dim, name: names[dim.name] ?? dim.name, ...(dim.default !== undefined && { default: wordsOf(dim.default) }) })),
    dimsOf: (dims) => Object.fromEntries(manifest.dims.map(({ name }) => [name, evaluate(wordsOf(name), dims)])),
    buffersOf: (buffers) => Object.fromEntries(manifest.params.map(({ name }) => [name, buffers[args[name] ?? name]!])),
  };
}

function countOf({ inner: { field } }: Flat, { kernel, spec }: Manifest): number {
  const count = (spec as Readonly<Record<string, unknown>> | undefined)?.[field];
  if (typeof count !== "number") throw new TypeError(`${kernel}: its spec has no number "${field}"`);
  return count;
}
