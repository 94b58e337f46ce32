// codec_bf16, a test

@group(0) @binding(0) var<storage, read> codes: array<u32>;  // bf16
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> value: array<f32>;
@group(0) @binding(3) var<storage, read_write> encoded: array<u32>;  // bf16
@group(0) @binding(4) var<storage, read_write> rounded: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;
struct Dims {
  N: i32,
}

fn decodeBf16(code: u32) -> f32 { return bitcast<f32>(code << 16u); }
fn codes_bf16_or(inside: bool, at_wanted: i32, fill: f32) -> f32 {
  let at = select(0, at_wanted, inside);
  return select(fill, decodeBf16(extractBits(codes[u32(at) >> 2u], (u32(at) & 2u) * 8u, 16u)), inside);
}
fn x_or(inside: bool, at_wanted: i32, fill: f32) -> f32 {
  let at = select(0, at_wanted, inside);
  return select(fill, x[at], inside);
}
fn encodeBf16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0x7fc0u; }
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
fn packBf16(a: f32, b: f32) -> u32 { return encodeBf16(a) | (encodeBf16(b) << 16u); }
fn encoded_store(word: u32, codes_2: u32, count: i32) {
  if (count >= 2) {
    encoded[word] = codes_2;
  } else if (count > 0) {  // the last word of a row: one thread owns it, so it may read, merge and write
    encoded[word] = insertBits(encoded[word], codes_2, 0u, u32(count) * 16u);
  }
}
fn roundBf16(x: f32) -> f32 { return decodeBf16(encodeBf16(x)); }

@compute @workgroup_size(64)
fn codec_bf16(
    @builtin(workgroup_id) workgroupId: vec3u,
    @builtin(num_workgroups) workgroupCount: vec3u,
    @builtin(local_invocation_index) localIndex: u32) {
  let block = i32(workgroupId.x + workgroupId.y * workgroupCount.x);
  if (block >= (dims.N + 255) / 256) { return; }
  let thread = i32(localIndex);

  // kernels.ts:52  const line52 = written(52);
  let i = block * 256 + thread * 4;
  let left = dims.N - i;
  var value_regs: array<f32, 4>;
  var x_regs: array<f32, 4>;
  {
    if (left >= 4) {
      let word = u32(i * 2) >> 2u;
      value_regs[0] = decodeBf16(codes[word] & 0xffffu); value_regs[1] = decodeBf16(codes[word] >> 16u);
      value_regs[2] = decodeBf16(codes[word + 1u] & 0xffffu); value_regs[3] = decodeBf16(codes[word + 1u] >> 16u);
    } else {
      let at = i * 2;
      value_regs[0] = codes_bf16_or(0 < left, at, 0.0f);
      value_regs[1] = codes_bf16_or(1 < left, at + 1 * 2, 0.0f);
      value_regs[2] = codes_bf16_or(2 < left, at + 2 * 2, 0.0f);
      value_regs[3] = codes_bf16_or(3 < left, at + 3 * 2, 0.0f);
    }
  }
  {
    let at = i;
    x_regs[0] = x_or(0 < left, at, 0.0f);
    x_regs[1] = x_or(1 < left, at + 1, 0.0f);
    x_regs[2] = x_or(2 < left, at + 2, 0.0f);
    x_regs[3] = x_or(3 < left, at + 3, 0.0f);
  }

  // kernels.ts:53  const line53 = written(53);
  {
    if (left > 0) { value[i] = value_regs[0]; }
    if (left > 1) { value[i + 1] = value_regs[1]; }
    if (left > 2) { value[i + 2] = value_regs[2]; }
    if (left > 3) { value[i + 3] = value_regs[3]; }
  }
  {
    let word = u32(i * 2) >> 2u;
    encoded_store(word, packBf16(x_regs[0], x_regs[1]), left);
    encoded_store(word + 1u, packBf16(x_regs[2], x_regs[3]), left - 2);
  }
  {
    if (left > 0) { rounded[i] = roundBf16(x_regs[0]); }
    if (left > 1) { rounded[i + 1] = roundBf16(x_regs[1]); }
    if (left > 2) { rounded[i + 2] = roundBf16(x_regs[2]); }
    if (left > 3) { rounded[i + 3] = roundBf16(x_regs[3]); }
  }
}
