// codec_f16, a test

@group(0) @binding(0) var<storage, read> codes: array<u32>;  // f16
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> value: array<f32>;
@group(0) @binding(3) var<storage, read_write> encoded: array<u32>;  // f16
@group(0) @binding(4) var<storage, read_write> rounded: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;
struct Dims {
  N: i32,
}

fn decodeF16(code: u32) -> f32 {
  let sign = (code & 0x8000u) << 16u;
  let magnitude = code & 0x7fffu;
  if (magnitude >= 0x7c00u) { return bitcast<f32>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13u)); }
  if (magnitude < 1024u) {  // subnormal
    return bitcast<f32>(sign | bitcast<u32>(f32(magnitude) * 5.960464477539063e-8f));
  }
  return bitcast<f32>(sign | ((magnitude << 13u) + 0x38000000u));
}
fn codes_f16_or(inside: bool, at_wanted: i32, fill: f32) -> f32 {
  let at = select(0, at_wanted, inside);
  return select(fill, decodeF16(extractBits(codes[u32(at) >> 2u], (u32(at) & 2u) * 8u, 16u)), inside);
}
fn x_or(inside: bool, at_wanted: i32, fill: f32) -> f32 {
  let at = select(0, at_wanted, inside);
  return select(fill, x[at], inside);
}
fn encodeF16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return 0x7e00u; }
  let sign = (bits >> 16u) & 0x8000u;
  if (magnitude < 0x38800000u) {  // subnormal: shift the mantissa to its place, round to nearest even
    let shift = min(126u - (magnitude >> 23u), 25u);
    let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    return sign | ((mantissa + (1u << (shift - 1u)) - 1u + ((mantissa >> shift) & 1u)) >> shift);
  }
  let rounded = (magnitude + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u;
  return sign | min(rounded - 0x1c000u, 0x7c00u);
}
fn packF16(a: f32, b: f32) -> u32 { return encodeF16(a) | (encodeF16(b) << 16u); }
fn encoded_store(word: u32, codes_2: u32, count: i32) {
  if (count >= 2) {
    encoded[word] = codes_2;
  } else if (count > 0) {  // the last word of a row: one thread owns it, so it may read, merge and write
    encoded[word] = insertBits(encoded[word], codes_2, 0u, u32(count) * 16u);
  }
}
fn roundF16(x: f32) -> f32 { return decodeF16(encodeF16(x)); }

@compute @workgroup_size(64)
fn codec_f16(
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
      value_regs[0] = decodeF16(codes[word] & 0xffffu); value_regs[1] = decodeF16(codes[word] >> 16u);
      value_regs[2] = decodeF16(codes[word + 1u] & 0xffffu); value_regs[3] = decodeF16(codes[word + 1u] >> 16u);
    } else {
      let at = i * 2;
      value_regs[0] = codes_f16_or(0 < left, at, 0.0f);
      value_regs[1] = codes_f16_or(1 < left, at + 1 * 2, 0.0f);
      value_regs[2] = codes_f16_or(2 < left, at + 2 * 2, 0.0f);
      value_regs[3] = codes_f16_or(3 < left, at + 3 * 2, 0.0f);
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
    encoded_store(word, packF16(x_regs[0], x_regs[1]), left);
    encoded_store(word + 1u, packF16(x_regs[2], x_regs[3]), left - 2);
  }
  {
    if (left > 0) { rounded[i] = roundF16(x_regs[0]); }
    if (left > 1) { rounded[i + 1] = roundF16(x_regs[1]); }
    if (left > 2) { rounded[i + 2] = roundF16(x_regs[2]); }
    if (left > 3) { rounded[i + 3] = roundF16(x_regs[3]); }
  }
}
