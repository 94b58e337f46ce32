import type { Manifest } from "../../../../compiler/ir/manifest.ts";

/** acc[i] = acc[i] * factor + x[i] for i < n: small, and the order of two launches shows in the result. */
export function foldKernel({ threads = 64, ...changes }: Partial<Manifest> = {}): { manifest: Manifest; text: string } {
  const vector = {
    axes: [{ axis: "i", size: "n", stride: 4 }],
    fields: [{ name: "", dtype: "f32", offset: 0, axes: [] }],
    bytes: { op: "mul", args: ["n", 4] },
  } as const;
  const manifest: Manifest = {
    format: 1,
    kernel: "fold",
    target: "wgsl",
    entry: "fold",
    file: "fold.wgsl",
    source: "fold.ts",
    spec: {},
    tune: {},
    params: [
      { name: "x", access: "in", ...vector },
      { name: "acc", access: "inout", ...vector },
    ],
    dims: [{ name: "n" }, { name: "factor", default: 2 }],
    tensorMaps: [],
    blocks: { op: "ceilDiv", args: ["n", threads] },
    threads,
    sharedBytes: 0,
    features: [],
    limits: {},
    sha256: "",
    ...changes,
  };
  const text = `struct Dims { n: i32, factor: i32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> acc: array<f32>;
@group(0) @binding(2) var<uniform> dims: Dims;

@compute @workgroup_size(${threads})
fn fold(@builtin(workgroup_id) block: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = (block.x + grid.x * block.y) * ${threads} + lane;
  if (i >= u32(dims.n)) {
    return;
  }
  acc[i] = acc[i] * f32(dims.factor) + x[i];
}
`;
  return { manifest, text };
}
