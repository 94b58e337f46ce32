// codec_bf16, a test

using u16 = unsigned short;
using u32 = unsigned int;

__device__ inline float decodeBf16(u32 code) { return __uint_as_float(code << 16); }
__device__ inline u32 packBf16(float a, float b) {
  u32 word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(b), "f"(a));
  return word;
}
__device__ inline u32 encodeBf16(float x) {
  u16 code;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(code) : "f"(x));
  return code;
}
__device__ inline float roundBf16(float x) { return decodeBf16(encodeBf16(x)); }

extern "C" __global__ void __launch_bounds__(64, 1) codec_bf16(
    const u16* __restrict__ codes,
    const float* __restrict__ x,
    float* __restrict__ value,
    u16* __restrict__ encoded,
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
    const u16* const at = codes + i;
    if (left >= 4) {
      const uint2 words = *(const uint2*)at;
      value_regs[0] = decodeBf16(words.x & 0xffffu); value_regs[1] = decodeBf16(words.x >> 16);
      value_regs[2] = decodeBf16(words.y & 0xffffu); value_regs[3] = decodeBf16(words.y >> 16);
    } else {
      #pragma unroll
      for (int e = 0; e < 4; ++e) {
        value_regs[e] = e < left ? decodeBf16(at[e]) : 0.0f;
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
    u16* const at = encoded + i;
    if (left >= 4) {
      *(uint2*)at = make_uint2(packBf16(x_regs[0], x_regs[1]), packBf16(x_regs[2], x_regs[3]));
    } else {
      if (left > 0) at[0] = encodeBf16(x_regs[0]);
      if (left > 1) at[1] = encodeBf16(x_regs[1]);
      if (left > 2) at[2] = encodeBf16(x_regs[2]);
      if (left > 3) at[3] = encodeBf16(x_regs[3]);
    }
  }
  {
    float* const at = rounded + i;
    if (left >= 4) {
      *(float4*)at = make_float4(roundBf16(x_regs[0]), roundBf16(x_regs[1]), roundBf16(x_regs[2]), roundBf16(x_regs[3]));
    } else {
      if (left > 0) at[0] = roundBf16(x_regs[0]);
      if (left > 1) at[1] = roundBf16(x_regs[1]);
      if (left > 2) at[2] = roundBf16(x_regs[2]);
      if (left > 3) at[3] = roundBf16(x_regs[3]);
    }
  }
}
