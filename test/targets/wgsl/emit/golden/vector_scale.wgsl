// vector_scale, a test

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> dims: Dims;
struct Dims {
  N: i32,
}

fn x_or(inside: bool, at_wanted: i32, fill: f32) -> f32 {
  let at = select(0, at_wanted, inside);
  return select(fill, x[at], inside);
}

@compute @workgroup_size(64)
fn vector_scale(
    @builtin(workgroup_id) workgroupId: vec3u,
    @builtin(num_workgroups) workgroupCount: vec3u,
    @builtin(local_invocation_index) localIndex: u32) {
  let block = i32(workgroupId.x + workgroupId.y * workgroupCount.x);
  if (block >= (dims.N + 255) / 256) { return; }
  let thread = i32(localIndex);

  // kernels.ts:3  const line3 = written(3);
  let i = block * 256 + thread * 4;
  var x_regs: array<f32, 4>;
  {
    let valid = dims.N - i;
    let at = i;
    x_regs[0] = x_or(0 < valid, at, 0.0f);
    x_regs[1] = x_or(1 < valid, at + 1, 0.0f);
    x_regs[2] = x_or(2 < valid, at + 2, 0.0f);
    x_regs[3] = x_or(3 < valid, at + 3, 0.0f);
  }

  // kernels.ts:4  const line4 = written(4);
  for (var e = 0; e < 4; e++) {
    x_regs[e] = x_regs[e] * 0.1f;
  }

  // kernels.ts:5  const line5 = written(5);
  {
    let valid = dims.N - i;
    if (valid > 0) { y[i] = x_regs[0]; }
    if (valid > 1) { y[i + 1] = x_regs[1]; }
    if (valid > 2) { y[i + 2] = x_regs[2]; }
    if (valid > 3) { y[i + 3] = x_regs[3]; }
  }
}
