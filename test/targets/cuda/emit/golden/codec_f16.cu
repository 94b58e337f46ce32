// codec_f16, a test

using u16 = unsigned short;
using u32 = unsigned int;

__device__ inline float decodeF16(u32 code) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((u16)code));
  return x;
}
__device__ inline u32 packF16(float a, float b) {
  u32 word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(b), "f"(a));
  return word;
}
__device__ inline u32 encodeF16(float x) {
  u16 code;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(code) : "f"(x));
  return code;
}
__device__ inline float roundF16(float x) { return decodeF16(encodeF16(x)); }

extern "C" __global__ void __launch_bounds__(64, 1) codec_f16(
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
      value_regs[0] = decodeF16(words.x & 0xffffu); value_regs[1] = decodeF16(words.x >> 16);
      value_regs[2] = decodeF16(words.y & 0xffffu); value_regs[3] = decodeF16(words.y >> 16);
    } else {
      #pragma unroll
      for (int e = 0; e < 4; ++e) {
        value_regs[e] = e < left ? decodeF16(at[e]) : 0.0f;
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
      *(uint2*)at = make_uint2(packF16(x_regs[0], x_regs[1]), packF16(x_regs[2], x_regs[3]));
    } else {
      if (left > 0) at[0] = encodeF16(x_regs[0]);
      if (left > 1) at[1] = encodeF16(x_regs[1]);
      if (left > 2) at[2] = encodeF16(x_regs[2]);
      if (left > 3) at[3] = encodeF16(x_regs[3]);
    }
  }
  {
    float* const at = rounded + i;
    if (left >= 4) {
      *(float4*)at = make_float4(roundF16(x_regs[0]), roundF16(x_regs[1]), roundF16(x_regs[2]), roundF16(x_regs[3]));
    } else {
      if (left > 0) at[0] = roundF16(x_regs[0]);
      if (left > 1) at[1] = roundF16(x_regs[1]);
      if (left > 2) at[2] = roundF16(x_regs[2]);
      if (left > 3) at[3] = roundF16(x_regs[3]);
    }
  }
}
