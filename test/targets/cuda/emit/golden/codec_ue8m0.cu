// codec_ue8m0, a test

using u8 = unsigned char;
using u32 = unsigned int;

__device__ inline float decodeUe8m0(u32 code) {
  if (code == 0u) return __uint_as_float(0x00400000u);  // 2^-127 is subnormal
  return __uint_as_float(code == 0xffu ? 0x7fc00000u : code << 23);
}
__device__ inline u32 encodeUe8m0(float x) {
  const u32 bits = __float_as_uint(x);
  if (!(x >= 0.0f)) return 0xffu;
  if (x <= __uint_as_float(0x00400000u)) return 0u;
  return min((bits + 0x7fffffu) >> 23, 254u);  // the next power of two
}
__device__ inline u32 packUe8m0(float a, float b, float c, float d) {
  return encodeUe8m0(a) | encodeUe8m0(b) << 8
      | encodeUe8m0(c) << 16 | encodeUe8m0(d) << 24;
}
__device__ inline float roundUe8m0(float x) { return decodeUe8m0(encodeUe8m0(x)); }

extern "C" __global__ void __launch_bounds__(64, 1) codec_ue8m0(
    const u8* __restrict__ codes,
    const float* __restrict__ x,
    float* __restrict__ value,
    u8* __restrict__ encoded,
    float* __restrict__ rounded,
    int N) {
  const int block = blockIdx.x;
  const int thread = threadIdx.x;

  // kernels.ts:52  const line52 = written(52);
  const int i = block * 256 + thread * 4;
  const int left = N - i;
  float value_regs[4];
  float x_regs[4];
  {
    const u8* const at = codes + i;
    if (left >= 4) {
      const u32 words = *(const u32*)at;
      value_regs[0] = decodeUe8m0(words & 0xffu); value_regs[1] = decodeUe8m0(words >> 8 & 0xffu);
      value_regs[2] = decodeUe8m0(words >> 16 & 0xffu); value_regs[3] = decodeUe8m0(words >> 24);
    } else {
      #pragma unroll
      for (int e = 0; e < 4; ++e) {
        value_regs[e] = e < left ? decodeUe8m0(at[e]) : 0.0f;
      }
    }
  }
  {
    const float* const at = x + i;
    if (left >= 4) {
      const float4 words = *(const float4*)at;
      x_regs[0] = words.x; x_regs[1] = words.y; x_regs[2] = words.z; x_regs[3] = words.w;
    } else {
      #pragma unroll
      for (int e = 0; e < 4; ++e) {
        x_regs[e] = e < left ? at[e] : 0.0f;
      }
    }
  }

  // kernels.ts:53  const line53 = written(53);
  {
    float* const at = value + i;
    if (left >= 4) {
      *(float4*)at = make_float4(value_regs[0], value_regs[1], value_regs[2], value_regs[3]);
    } else {
      if (left > 0) at[0] = value_regs[0];
      if (left > 1) at[1] = value_regs[1];
      if (left > 2) at[2] = value_regs[2];
      if (left > 3) at[3] = value_regs[3];
    }
  }
  {
    u8* const at = encoded + i;
    if (left >= 4) {
      *(u32*)at = packUe8m0(x_regs[0], x_regs[1], x_regs[2], x_regs[3]);
    } else {
      if (left > 0) at[0] = encodeUe8m0(x_regs[0]);
      if (left > 1) at[1] = encodeUe8m0(x_regs[1]);
      if (left > 2) at[2] = encodeUe8m0(x_regs[2]);
      if (left > 3) at[3] = encodeUe8m0(x_regs[3]);
    }
  }
  {
    float* const at = rounded + i;
    if (left >= 4) {
      *(float4*)at = make_float4(roundUe8m0(x_regs[0]), roundUe8m0(x_regs[1]), roundUe8m0(x_regs[2]), roundUe8m0(x_regs[3]));
    } else {
      if (left > 0) at[0] = roundUe8m0(x_regs[0]);
      if (left > 1) at[1] = roundUe8m0(x_regs[1]);
      if (left > 2) at[2] = roundUe8m0(x_regs[2]);
      if (left > 3) at[3] = roundUe8m0(x_regs[3]);
    }
  }
}
