// codec_e5m2, a test

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;

__device__ inline float decodeF16(u32 code) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((u16)code));
  return x;
}
// e5m2 is the upper half of f16
__device__ inline float decodeE5m2(u32 code) { return decodeF16(code << 8); }
__device__ inline u32 packE5m2(float a, float b, float c, float d) {
  u16 low, high;
  asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));
  asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));
  return low | (u32)high << 16;
}
__device__ inline u32 encodeE5m2(float x) {
  u16 pair;
  asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(0.0f), "f"(x));
  return pair;
}
__device__ inline float roundE5m2(float x) { return decodeE5m2(encodeE5m2(x)); }

extern "C" __global__ void __launch_bounds__(64, 1) codec_e5m2(
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
      value_regs[0] = decodeE5m2(words & 0xffu); value_regs[1] = decodeE5m2(words >> 8 & 0xffu);
      value_regs[2] = decodeE5m2(words >> 16 & 0xffu); value_regs[3] = decodeE5m2(words >> 24);
    } else {
      #pragma unroll
      for (int e = 0; e < 4; ++e) {
        value_regs[e] = e < left ? decodeE5m2(at[e]) : 0.0f;
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
      *(u32*)at = packE5m2(x_regs[0], x_regs[1], x_regs[2], x_regs[3]);
    } else {
      if (left > 0) at[0] = encodeE5m2(x_regs[0]);
      if (left > 1) at[1] = encodeE5m2(x_regs[1]);
      if (left > 2) at[2] = encodeE5m2(x_regs[2]);
      if (left > 3) at[3] = encodeE5m2(x_regs[3]);
    }
  }
  {
    float* const at = rounded + i;
    if (left >= 4) {
      *(float4*)at = make_float4(roundE5m2(x_regs[0]), roundE5m2(x_regs[1]), roundE5m2(x_regs[2]), roundE5m2(x_regs[3]));
    } else {
      if (left > 0) at[0] = roundE5m2(x_regs[0]);
      if (left > 1) at[1] = roundE5m2(x_regs[1]);
      if (left > 2) at[2] = roundE5m2(x_regs[2]);
      if (left > 3) at[3] = roundE5m2(x_regs[3]);
    }
  }
}
