// codec_e4m3, a test

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;

__device__ inline float decodeF16(u32 code) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((u16)code));
  return x;
}
__device__ inline float decodeE4m3(u32 code) {
  u32 pair;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair) : "h"((u16)code));
  return decodeF16(pair);
}
__device__ inline u32 packE4m3(float a, float b, float c, float d) {
  u16 low, high;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));
  return low | (u32)high << 16;
}
__device__ inline u32 encodeE4m3(float x) {
  u16 pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(0.0f), "f"(x));
  return pair;
}
__device__ inline float roundE4m3(float x) { return decodeE4m3(encodeE4m3(x)); }

extern "C" __global__ void __launch_bounds__(64, 1) codec_e4m3(
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
      value_regs[0] = decodeE4m3(words & 0xffu); value_regs[1] = decodeE4m3(words >> 8 & 0xffu);
      value_regs[2] = decodeE4m3(words >> 16 & 0xffu); value_regs[3] = decodeE4m3(words >> 24);
    } else {
      #pragma unroll
      for (int e = 0; e < 4; ++e) {
        value_regs[e] = e < left ? decodeE4m3(at[e]) : 0.0f;
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
      *(u32*)at = packE4m3(x_regs[0], x_regs[1], x_regs[2], x_regs[3]);
    } else {
      if (left > 0) at[0] = encodeE4m3(x_regs[0]);
      if (left > 1) at[1] = encodeE4m3(x_regs[1]);
      if (left > 2) at[2] = encodeE4m3(x_regs[2]);
      if (left > 3) at[3] = encodeE4m3(x_regs[3]);
    }
  }
  {
    float* const at = rounded + i;
    if (left >= 4) {
      *(float4*)at = make_float4(roundE4m3(x_regs[0]), roundE4m3(x_regs[1]), roundE4m3(x_regs[2]), roundE4m3(x_regs[3]));
    } else {
      if (left > 0) at[0] = roundE4m3(x_regs[0]);
      if (left > 1) at[1] = roundE4m3(x_regs[1]);
      if (left > 2) at[2] = roundE4m3(x_regs[2]);
      if (left > 3) at[3] = roundE4m3(x_regs[3]);
    }
  }
}
