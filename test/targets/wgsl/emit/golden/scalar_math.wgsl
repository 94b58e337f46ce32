// scalar_math, a test

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> n: array<i32>;
@group(0) @binding(3) var<storage, read> m: array<i32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;
struct Dims {
  N: i32,
}

fn log1p(x: f32) -> f32 {
  if (abs(x) >= 0.5f) { return log(1.0f + x); }
  let s = x / (2.0f + x);  // ln(1 + x) = 2 artanh(s), |s| <= 1/3
  let z = s * s;
  return 2.0f * s * (1.0f + z * (1.0f / 3.0f + z * (0.2f + z * (1.0f / 7.0f + z * (1.0f / 9.0f + z * (1.0f / 11.0f + z / 13.0f))))));
}
// tanh without overflow, and accurate next to 0
fn stableTanh(x: f32) -> f32 {
  if (abs(x) < 1.0f) {  // Pade approximant of order 7 over 6
    let z = x * x;
    return x * (((z + 378.0f) * z + 17325.0f) * z + 135135.0f) / (((28.0f * z + 3150.0f) * z + 62370.0f) * z + 135135.0f);
  }
  let t = exp(-2.0f * abs(x));
  return sign(x) * (1.0f - 2.0f * t / (1.0f + t));
}
// WGSL has no constant for infinity and NaN, and rejects their bits in constant expressions
fn floatFromBits(bits: u32) -> f32 { return bitcast<f32>(bits); }

@compute @workgroup_size(64)
fn scalar_math(
    @builtin(workgroup_id) workgroupId: vec3u,
    @builtin(num_workgroups) workgroupCount: vec3u,
    @builtin(local_invocation_index) localIndex: u32) {
  let block = i32(workgroupId.x + workgroupId.y * workgroupCount.x);
  if (block >= (dims.N + 63) / 64) { return; }
  let thread = i32(localIndex);
  let i = block * 64 + thread;
  if (i < dims.N) {
    let x_value = x[i];
    let y_value = y[i];
    let n_value = n[i];
    let m_value = m[i];
    out[i * 31] = exp(x_value);
    out[i * 31 + 1] = exp2(x_value);
    out[i * 31 + 2] = log(x_value);
    out[i * 31 + 3] = log2(x_value);
    out[i * 31 + 4] = log1p(x_value);
    out[i * 31 + 5] = sqrt(x_value);
    out[i * 31 + 6] = abs(x_value);
    out[i * 31 + 7] = floor(x_value);
    out[i * 31 + 8] = ceil(x_value);
    out[i * 31 + 9] = stableTanh(x_value);
    out[i * 31 + 10] = sin(x_value);
    out[i * 31 + 11] = cos(x_value);
    out[i * 31 + 12] = max(x_value, y_value);
    out[i * 31 + 13] = min(x_value, y_value);
    out[i * 31 + 14] = x_value / y_value;
    out[i * 31 + 15] = f32(n_value / m_value);
    out[i * 31 + 16] = f32(n_value % m_value);
    out[i * 31 + 17] = f32(max(n_value, m_value));
    out[i * 31 + 18] = f32(abs(n_value));
    out[i * 31 + 19] = f32(countOneBits(n_value));
    out[i * 31 + 20] = floatFromBits(bitcast<u32>(x_value) ^ 0x80000000u);
    out[i * 31 + 21] = f32(n_value >> 1u);
    out[i * 31 + 22] = f32(u32(n_value) >> 28u);
    out[i * 31 + 23] = f32(n_value << (u32(m_value & 3) & 31u));
    out[i * 31 + 24] = -16777216.0f;
    out[i * 31 + 25] = f32(~n_value);
    out[i * 31 + 26] = 5.0f;
    out[i * 31 + 27] = f32(i32(x_value));
    out[i * 31 + 28] = f32(!(x_value < y_value && (n_value > m_value || m_value == 3)));
    out[i * 31 + 29] = select(-0.0f, select(floatFromBits(0xff800000u), floatFromBits(0x7f800000u), n_value != 0), x_value < y_value);
    out[i * 31 + 30] = -(x_value - (y_value - 0.1f));
  }
}
