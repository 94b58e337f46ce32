// transpose, a test

using u16 = unsigned short;
using u32 = unsigned int;
using i64 = long long;

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

extern "C" __global__ void __launch_bounds__(128, 1) transpose(
    const u16* __restrict__ x,
    u16* __restrict__ y,
    int R,
    int C,
    int xPitch,
    int yPitch) {
  extern __shared__ __align__(1024) unsigned char shared[];
  u16* const tile = (u16*)(shared + 0);  // tile[c 32, r 32+2]
  const int block = blockIdx.x;
  const int thread = threadIdx.x;

  // kernels.ts:32  const line32 = written(32);
  const int across = (C + 31) / 32;
  const int r0 = (block / across) * 32;
  const int c0 = (block % across) * 32;

  // kernels.ts:33  const line33 = written(33);
  const int pair = (thread / 8) * 2;
  const int c = (thread % 8) * 4;
  float top[4];
  float bottom[4];
  {
    const int valid = r0 + pair < R ? C - (c0 + c) : 0;
    const u16* const at = x + ((i64)(r0 + pair) * xPitch + (c0 + c));
    #pragma unroll
    for (int e_2 = 0; e_2 < 4; ++e_2) {
      top[e_2] = e_2 < valid ? decodeBf16(at[e_2]) : 0.0f;
    }
  }
  {
    const int valid = r0 + pair + 1 < R ? C - (c0 + c) : 0;
    const u16* const at = x + ((i64)(r0 + pair + 1) * xPitch + (c0 + c));
    #pragma unroll
    for (int e_2 = 0; e_2 < 4; ++e_2) {
      bottom[e_2] = e_2 < valid ? decodeBf16(at[e_2]) : 0.0f;
    }
  }
  #pragma unroll
  for (int e = 0; e < 4; ++e) {
    *(u32*)(tile + ((c + e) * 34 + pair)) = packBf16(top[e], bottom[e]);
  }
  __syncthreads();

  // kernels.ts:34  const line34 = written(34);
  const int row = (thread % 16) * 2;
  for (int column = thread / 16; column < 32; column += 8) {
    const int valid = c0 + column < C ? R - (r0 + row) : 0;
    u16* const at = y + ((i64)(c0 + column) * yPitch + (r0 + row));
    if (valid >= 2) {
      *(u32*)at = packBf16(decodeBf16(tile[column * 34 + row]), decodeBf16(tile[column * 34 + row + 1]));
    } else {
      if (valid > 0) at[0] = encodeBf16(decodeBf16(tile[column * 34 + row]));
      if (valid > 1) at[1] = encodeBf16(decodeBf16(tile[column * 34 + row + 1]));
    }
  }
}
