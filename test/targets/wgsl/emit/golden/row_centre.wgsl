// row_centre, a test

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> total: array<f32>;
@group(0) @binding(3) var<uniform> dims: Dims;
struct Dims {
  R: i32,
}

var<workgroup> partial: array<f32, 64>;  // partial[c 64]

@compute @workgroup_size(64)
fn row_centre(
    @builtin(workgroup_id) workgroupId: vec3u,
    @builtin(num_workgroups) workgroupCount: vec3u,
    @builtin(local_invocation_index) localIndex: u32) {
  let block = i32(workgroupId.x + workgroupId.y * workgroupCount.x);
  if (block >= dims.R) { return; }
  let thread = i32(localIndex);

  // kernels.ts:12  const line12 = written(12);
  let x_value = x[block * 64 + thread];

  // kernels.ts:13  const line13 = written(13);
  partial[thread] = x_value;
  workgroupBarrier();
  var width: i32 = 32;
  for (var level = 0; level < 6; level++) {
    if (thread < width) {
      partial[thread] = partial[thread] + partial[thread + width];
    }
    workgroupBarrier();
    width = width >> 1u;
  }
  let sum = workgroupUniformLoad(&partial[0]);

  // kernels.ts:14  const line14 = written(14);
  y[block * 64 + thread] = x_value - sum * 0.015625f;
  if (thread == 0) {
    total[block] = sum;
  }
}
