// codec_e4m3, a test

using u8 = unsigned char;
using u32 = unsigned int;

__device__ inline float decodeE4m3(u32 code) {
  const u32 sign = (code & 0x80u) << 24, magnitude = code & 0x7fu;
  if (magnitude == 0x7fu) return __uint_as_float(0x7fc00000u);
  return __uint_as_float(sign | magnitude << 20) * __uint_as_float(0x7b800000u);  // times 2^120: the exponent's bias, subnormals too
}
__device__ inline u32 encodeE4m3(float x) {
  const u32 bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu, sign = bits >> 24 & 0x80u;
  if (magnitude > 0x7f800000u) return 0x7fu;
  u32 code;
  if (magnitude < 0x3c800000u) {  // subnormal: adding 2^14 rounds to the quantum
    code = __float_as_uint(__uint_as_float(magnitude) + 16384.0f) & 0xffu;
  } else {
    code = (magnitude + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20;
    code = min(code - 960u, 0x7eu);  // saturates
  }
  return sign | code;
}
__device__ inline u32 packE4m3(float a, float b, float c, float d) {
  return encodeE4m3(a) | encodeE4m3(b) << 8
      | encodeE4m3(c) << 16 | encodeE4m3(d) << 24;
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
