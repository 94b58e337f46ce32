// transpose, a test

@group(0) @binding(0) var<storage, read> x: array<u32>;  // bf16
@group(0) @binding(1) var<storage, read_write> y: array<u32>;  // bf16
@group(0) @binding(2) var<uniform> dims: Dims;
struct Dims {
  R: i32,
  C: i32,
  xPitch: i32,
  yPitch: i32,
}

var<workgroup> tile: array<u32, 544>;  // tile[c 32, r 32+2], bf16

fn decodeBf16(code: u32) -> f32 { return bitcast<f32>(code << 16u); }
fn x_bf16_or(inside: bool, at_wanted: i32, fill: f32) -> f32 {
  let at = select(0, at_wanted, inside);
  return select(fill, decodeBf16(extractBits(x[u32(at) >> 2u], (u32(at) & 2u) * 8u, 16u)), inside);
}
fn encodeBf16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0x7fc0u; }
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
fn packBf16(a: f32, b: f32) -> u32 { return encodeBf16(a) | (encodeBf16(b) << 16u); }
fn tile_at(at: i32) -> f32 { return decodeBf16(extractBits(tile[at >> 1u], u32(at & 1) * 16u, 16u)); }
fn y_store(word: u32, codes: u32, count: i32) {
  if (count >= 2) {
    y[word] = codes;
  } else if (count > 0) {  // the last word of a row: one thread owns it, so it may read, merge and write
    y[word] = insertBits(y[word], codes, 0u, u32(count) * 16u);
  }
}

@compute @workgroup_size(128)
fn transpose(
    @builtin(workgroup_id) workgroupId: vec3u,
    @builtin(num_workgroups) workgroupCount: vec3u,
    @builtin(local_invocation_index) localIndex: u32) {
  let block = i32(workgroupId.x + workgroupId.y * workgroupCount.x);
  if (block >= ((dims.R + 31) / 32) * ((dims.C + 31) / 32)) { return; }
  let thread = i32(localIndex);

  // kernels.ts:32  const line32 = written(32);
  let across = (dims.C + 31) / 32;
  let r0 = (block / across) * 32;
  let c0 = (block % across) * 32;

  // kernels.ts:33  const line33 = written(33);
  let pair = (thread / 8) * 2;
  let c = (thread % 8) * 4;
  var top: array<f32, 4>;
  var bottom: array<f32, 4>;
  {
    let valid = select(0, dims.C - (c0 + c), r0 + pair < dims.R);
    let at = (r0 + pair) * (2 * dims.xPitch) + (c0 + c) * 2;
    top[0] = x_bf16_or(0 < valid, at, 0.0f);
    top[1] = x_bf16_or(1 < valid, at + 1 * 2, 0.0f);
    top[2] = x_bf16_or(2 < valid, at + 2 * 2, 0.0f);
    top[3] = x_bf16_or(3 < valid, at + 3 * 2, 0.0f);
  }
  {
    let valid = select(0, dims.C - (c0 + c), r0 + pair + 1 < dims.R);
    let at = (r0 + pair + 1) * (2 * dims.xPitch) + (c0 + c) * 2;
    bottom[0] = x_bf16_or(0 < valid, at, 0.0f);
    bottom[1] = x_bf16_or(1 < valid, at + 1 * 2, 0.0f);
    bottom[2] = x_bf16_or(2 < valid, at + 2 * 2, 0.0f);
    bottom[3] = x_bf16_or(3 < valid, at + 3 * 2, 0.0f);
  }
  for (var e = 0; e < 4; e++) {
    tile[((c + e) * 34 + pair) >> 1u] = packBf16(top[e], bottom[e]);
  }
  workgroupBarrier();

  // kernels.ts:34  const line34 = written(34);
  let row = (thread % 16) * 2;
  for (var column = thread / 16; column < 32; column += 8) {
    let valid = select(0, dims.R - (r0 + row), c0 + column < dims.C);
    let word = u32((c0 + column) * (2 * dims.yPitch) + (r0 + row) * 2) >> 2u;
    y_store(word, packBf16(tile_at(column * 34 + row), tile_at(column * 34 + row + 1)), valid);
  }
}
