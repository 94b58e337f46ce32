// codec_e5m2, a test

@group(0) @binding(0) var<storage, read> codes: array<u32>;  // e5m2
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> value: array<f32>;
@group(0) @binding(3) var<storage, read_write> encoded: array<u32>;  // e5m2
@group(0) @binding(4) var<storage, read_write> rounded: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;
struct Dims {
  N: i32,
}

fn decodeE5m2(code: u32) -> f32 {
  let sign = (code & 0x80u) << 24u;
  let magnitude = code & 0x7fu;
  if (magnitude >= 0x7cu) { return bitcast<f32>(sign | 0x7f800000u | ((magnitude & 3u) << 21u)); }
  if (magnitude < 4u) {  // subnormal
    return bitcast<f32>(sign | bitcast<u32>(f32(magnitude) * 0.0000152587890625f));
  }
  return bitcast<f32>(sign | ((magnitude << 21u) + 0x38000000u));
}
fn codes_e5m2_or(inside: bool, at_wanted: i32, fill: f32) -> f32 {
  let at = select(0, at_wanted, inside);
  return select(fill, decodeE5m2(extractBits(codes[u32(at) >> 2u], (u32(at) & 3u) * 8u, 8u)), inside);
}
fn x_or(inside: bool, at_wanted: i32, fill: f32) -> f32 {
  let at = select(0, at_wanted, inside);
  return select(fill, x[at], inside);
}
fn encodeE5m2(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return 0x7eu; }
  let sign = (bits >> 24u) & 0x80u;
  if (magnitude < 0x38800000u) {  // subnormal: shift the mantissa to its place, round to nearest even
    let shift = min(134u - (magnitude >> 23u), 25u);
    let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    return sign | ((mantissa + (1u << (shift - 1u)) - 1u + ((mantissa >> shift) & 1u)) >> shift);
  }
  let rounded = (magnitude + 0xfffffu + ((magnitude >> 21u) & 1u)) >> 21u;
  return sign | min(rounded - 0x1c0u, 0x7bu);
}
fn packE5m2(a: f32, b: f32, c: f32, d: f32) -> u32 {
  return encodeE5m2(a) | (encodeE5m2(b) << 8u)
      | (encodeE5m2(c) << 16u) | (encodeE5m2(d) << 24u);
}
fn encoded_store(word: u32, codes_2: u32, count: i32) {
  if (count >= 4) {
    encoded[word] = codes_2;
  } else if (count > 0) {  // the last word of a row: one thread owns it, so it may read, merge and write
    encoded[word] = insertBits(encoded[word], codes_2, 0u, u32(count) * 8u);
  }
}
fn roundE5m2(x: f32) -> f32 { return decodeE5m2(encodeE5m2(x)); }

@compute @workgroup_size(64)
fn codec_e5m2(
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
      let word = u32(i) >> 2u;
      value_regs[0] = decodeE5m2(codes[word] & 0xffu); value_regs[1] = decodeE5m2((codes[word] >> 8u) & 0xffu);
      value_regs[2] = decodeE5m2((codes[word] >> 16u) & 0xffu); value_regs[3] = decodeE5m2(codes[word] >> 24u);
    } else {
      let at = i;
      value_regs[0] = codes_e5m2_or(0 < left, at, 0.0f);
      value_regs[1] = codes_e5m2_or(1 < left, at + 1, 0.0f);
      value_regs[2] = codes_e5m2_or(2 < left, at + 2, 0.0f);
      value_regs[3] = codes_e5m2_or(3 < left, at + 3, 0.0f);
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
    let word = u32(i) >> 2u;
    encoded_store(word, packE5m2(x_regs[0], x_regs[1], x_regs[2], x_regs[3]), left);
  }
  {
    if (left > 0) { rounded[i] = roundE5m2(x_regs[0]); }
    if (left > 1) { rounded[i + 1] = roundE5m2(x_regs[1]); }
    if (left > 2) { rounded[i + 2] = roundE5m2(x_regs[2]); }
    if (left > 3) { rounded[i + 3] = roundE5m2(x_regs[3]); }
  }
}
