// gather_records, a test

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using i64 = long long;

__device__ inline u32 packF16(float a, float b) {
  u32 word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(b), "f"(a));
  return word;
}
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
__device__ inline float decodeBf16(u32 code) { return __uint_as_float(code << 16); }
__device__ inline u32 packBf16(float a, float b) {
  u32 word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(b), "f"(a));
  return word;
}

extern "C" __global__ void __launch_bounds__(32, 1) gather_records(
    const u8* __restrict__ cache,
    const int* __restrict__ idx,
    u16* __restrict__ out,
    float* __restrict__ last,
    int P,
    int J,
    int pageBytes) {
  extern __shared__ __align__(1024) unsigned char shared[];
  u16* const weight = (u16*)(shared + 0);  // weight[j 4, 2]
  const int block = blockIdx.x;
  const int thread = threadIdx.x;

  // kernels.ts:72  const line72 = written(72);
  const int at_j = block * 4 + thread / 8;
  const bool valid = at_j < J;
  const int slot = valid ? idx[at_j] : -1;
  const int page = slot >> 1;
  const int s = slot & 1;

  // kernels.ts:73  const line73 = written(73);
  if (thread % 8 == 0) {
    *(u32*)(weight + (thread / 8) * 2) = packF16(slot >= 0 ? *(const float*)(cache + ((i64)page * pageBytes + (s * 16 + 8))) : 0.0f, 1.0f);
  }
  __syncthreads();

  // kernels.ts:74  const line74 = written(74);
  float code[8];
  float rope[2];
  if (slot >= 0) {
    const uint2 words = *(const uint2*)(cache + ((i64)page * pageBytes + s * 16));
    code[0] = decodeE4m3(words.x & 0xffu); code[1] = decodeE4m3(words.x >> 8 & 0xffu);
    code[2] = decodeE4m3(words.x >> 16 & 0xffu); code[3] = decodeE4m3(words.x >> 24);
    code[4] = decodeE4m3(words.y & 0xffu); code[5] = decodeE4m3(words.y >> 8 & 0xffu);
    code[6] = decodeE4m3(words.y >> 16 & 0xffu); code[7] = decodeE4m3(words.y >> 24);
  } else {
    code[0] = 0.0f; code[1] = 0.0f; code[2] = 0.0f; code[3] = 0.0f;
    code[4] = 0.0f; code[5] = 0.0f; code[6] = 0.0f; code[7] = 0.0f;
  }
  if (slot >= 0) {
    const u32 words = *(const u32*)(cache + ((i64)page * pageBytes + (s * 16 + 12)));
    rope[0] = decodeBf16(words & 0xffffu); rope[1] = decodeBf16(words >> 16);
  } else {
    rope[0] = 0.0f; rope[1] = 0.0f;
  }

  // kernels.ts:75  const line75 = written(75);
  if (thread % 8 == 0 && valid) {
    *(uint4*)(out + (i64)at_j * 8) = make_uint4(
        packBf16(code[0] * decodeF16(weight[(thread / 8) * 2]), code[1] * decodeF16(weight[(thread / 8) * 2])),
        packBf16(code[2] * decodeF16(weight[(thread / 8) * 2]), code[3] * decodeF16(weight[(thread / 8) * 2])),
        packBf16(code[4] * decodeF16(weight[(thread / 8) * 2]), code[5] * decodeF16(weight[(thread / 8) * 2])),
        packBf16(code[6] * decodeF16(weight[(thread / 8) * 2]), code[7] * decodeF16(weight[(thread / 8) * 2])));
    last[at_j] = rope[1];
  }
}
