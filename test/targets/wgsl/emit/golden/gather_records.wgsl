// gather_records, a test

@group(0) @binding(0) var<storage, read> cache: array<u32>;  // latent e4m3, scale f32, rope bf16
@group(0) @binding(1) var<storage, read> idx: array<i32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;  // bf16
@group(0) @binding(3) var<storage, read_write> last: array<f32>;
@group(0) @binding(4) var<uniform> dims: Dims;
struct Dims {
  P: i32,
  J: i32,
  pageBytes: i32,
}

var<workgroup> weight: array<u32, 4>;  // weight[j 4, 2], f16

fn idx_or(inside: bool, at_wanted: i32, fill: i32) -> i32 {
  let at = select(0, at_wanted, inside);
  return select(fill, idx[at], inside);
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
fn cache_f32_or(inside: bool, at_wanted: i32, fill: f32) -> f32 {
  let at = select(0, at_wanted, inside);
  return select(fill, bitcast<f32>(cache[u32(at) >> 2u]), inside);
}
// WGSL has no constant for infinity and NaN, and rejects their bits in constant expressions
fn floatFromBits(bits: u32) -> f32 { return bitcast<f32>(bits); }
fn decodeE4m3(code: u32) -> f32 {
  let sign = (code & 0x80u) << 24u;
  let magnitude = code & 0x7fu;
  if (magnitude == 0x7fu) { return floatFromBits(0x7fc00000u); }
  if (magnitude < 8u) {  // subnormal
    return bitcast<f32>(sign | bitcast<u32>(f32(magnitude) * 0.001953125f));
  }
  return bitcast<f32>(sign | ((magnitude << 20u) + 0x3c000000u));
}
fn decodeBf16(code: u32) -> f32 { return bitcast<f32>(code << 16u); }
fn encodeBf16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0x7fc0u; }
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
fn packBf16(a: f32, b: f32) -> u32 { return encodeBf16(a) | (encodeBf16(b) << 16u); }
fn decodeF16(code: u32) -> f32 {
  let sign = (code & 0x8000u) << 16u;
  let magnitude = code & 0x7fffu;
  if (magnitude >= 0x7c00u) { return bitcast<f32>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13u)); }
  if (magnitude < 1024u) {  // subnormal
    return bitcast<f32>(sign | bitcast<u32>(f32(magnitude) * 5.960464477539063e-8f));
  }
  return bitcast<f32>(sign | ((magnitude << 13u) + 0x38000000u));
}
fn weight_at(at: i32) -> f32 { return decodeF16(extractBits(weight[at >> 1u], u32(at & 1) * 16u, 16u)); }

@compute @workgroup_size(32)
fn gather_records(
    @builtin(workgroup_id) workgroupId: vec3u,
    @builtin(num_workgroups) workgroupCount: vec3u,
    @builtin(local_invocation_index) localIndex: u32) {
  let block = i32(workgroupId.x + workgroupId.y * workgroupCount.x);
  if (block >= (dims.J + 3) / 4) { return; }
  let thread = i32(localIndex);

  // kernels.ts:72  const line72 = written(72);
  let at_j = block * 4 + thread / 8;
  let valid = at_j < dims.J;
  let slot = idx_or(valid, at_j, -1);
  let page = slot >> 1u;
  let s = slot & 1;

  // kernels.ts:73  const line73 = written(73);
  if (thread % 8 == 0) {
    weight[((thread / 8) * 2) >> 1u] = packF16(cache_f32_or(slot >= 0, page * dims.pageBytes + s * 16 + 8, 0.0f), 1.0f);
  }
  workgroupBarrier();

  // kernels.ts:74  const line74 = written(74);
  var code: array<f32, 8>;
  var rope: array<f32, 2>;
  if (slot >= 0) {
    let word = u32(page * dims.pageBytes + s * 16) >> 2u;
    code[0] = decodeE4m3(cache[word] & 0xffu); code[1] = decodeE4m3((cache[word] >> 8u) & 0xffu);
    code[2] = decodeE4m3((cache[word] >> 16u) & 0xffu); code[3] = decodeE4m3(cache[word] >> 24u);
    code[4] = decodeE4m3(cache[word + 1u] & 0xffu); code[5] = decodeE4m3((cache[word + 1u] >> 8u) & 0xffu);
    code[6] = decodeE4m3((cache[word + 1u] >> 16u) & 0xffu); code[7] = decodeE4m3(cache[word + 1u] >> 24u);
  } else {
    code[0] = 0.0f; code[1] = 0.0f; code[2] = 0.0f; code[3] = 0.0f;
    code[4] = 0.0f; code[5] = 0.0f; code[6] = 0.0f; code[7] = 0.0f;
  }
  if (slot >= 0) {
    let word = u32(page * dims.pageBytes + s * 16 + 12) >> 2u;
    rope[0] = decodeBf16(cache[word] & 0xffffu); rope[1] = decodeBf16(cache[word] >> 16u);
  } else {
    rope[0] = 0.0f; rope[1] = 0.0f;
  }

  // kernels.ts:75  const line75 = written(75);
  if (thread % 8 == 0 && valid) {
    {
      let word = u32(at_j * 16) >> 2u;
      out[word] = packBf16(code[0] * weight_at((thread / 8) * 2), code[1] * weight_at((thread / 8) * 2));
      out[word + 1u] = packBf16(code[2] * weight_at((thread / 8) * 2), code[3] * weight_at((thread / 8) * 2));
      out[word + 2u] = packBf16(code[4] * weight_at((thread / 8) * 2), code[5] * weight_at((thread / 8) * 2));
      out[word + 3u] = packBf16(code[6] * weight_at((thread / 8) * 2), code[7] * weight_at((thread / 8) * 2));
    }
    last[at_j] = rope[1];
  }
}
