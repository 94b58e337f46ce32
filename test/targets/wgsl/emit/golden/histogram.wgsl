// histogram, a test

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;
@group(0) @binding(2) var<storage, read_write> most: array<u32>;
@group(0) @binding(3) var<uniform> dims: Dims;
struct Dims {
  N: i32,
}

var<workgroup> bins: array<atomic<u32>, 16>;  // bins[b 16]

@compute @workgroup_size(64)
fn histogram(
    @builtin(workgroup_id) workgroupId: vec3u,
    @builtin(num_workgroups) workgroupCount: vec3u,
    @builtin(local_invocation_index) localIndex: u32) {
  let block = i32(workgroupId.x + workgroupId.y * workgroupCount.x);
  if (block >= 1) { return; }
  let thread = i32(localIndex);

  // kernels.ts:22  const line22 = written(22);
  if (thread < 16) {
    atomicStore(&bins[thread], 0u);
  }
  workgroupBarrier();

  // kernels.ts:23  const line23 = written(23);
  for (var i = thread; i < dims.N; i += 64) {
    atomicAdd(&bins[i32(x[i] & 15u)], 1u);
  }
  workgroupBarrier();

  // kernels.ts:24  const line24 = written(24);
  var most_value: u32 = 0u;
  for (var b = 0; b < 16; b++) {
    most_value = max(most_value, atomicLoad(&bins[b]));
  }
  if (thread < 16) {
    counts[thread] = atomicLoad(&bins[thread]);
  }
  if (thread == 0) {
    most[0] = most_value;
  }
}
