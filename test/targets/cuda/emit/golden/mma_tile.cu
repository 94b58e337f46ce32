// mma_tile, a test

using u16 = unsigned short;
using u32 = unsigned int;
using i64 = long long;

__device__ inline void cpAsync16(void* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :: "r"((u32)__cvta_generic_to_shared(to)), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ inline void ldmatrixX4(u32& a, u32& b, u32& c, u32& d, const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
               : "r"((u32)__cvta_generic_to_shared(row))
               : "memory");
}
__device__ inline void ldmatrixX2(u32& a, u32& b, const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(a), "=r"(b)
               : "r"((u32)__cvta_generic_to_shared(row))
               : "memory");
}
__device__ inline void mmaBf16(float& d0, float& d1, float& d2, float& d3, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

extern "C" __global__ void __launch_bounds__(32, 1) mma_tile(
    const u16* __restrict__ a,
    const u16* __restrict__ b,
    float* __restrict__ d,
    int rows) {
  extern __shared__ __align__(1024) unsigned char shared[];
  u16* const a_shared = (u16*)(shared + 0);  // a[m 16, k 16+8]
  u16* const b_shared = (u16*)(shared + 768);  // b[n 8, k 16+8]
  const int thread = threadIdx.x;

  // kernels.ts:42  const line42 = written(42);
  const int m = thread / 2;
  const int k = (thread % 2) * 8;
  cpAsync16(a_shared + (m * 24 + k), a + ((i64)m * 16 + k), m < rows);

  // kernels.ts:43  const line43 = written(43);
  if (thread < 16) {
    cpAsync16(b_shared + (m * 24 + k), b + (m * 16 + k), true);
  }
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();

  // kernels.ts:44  const line44 = written(44);
  u32 a_regs[4];
  u32 b_regs[2];
  float d_regs[4];
  #pragma unroll
  for (int i = 0; i < 4; ++i) {
    d_regs[i] = 0.0f;
  }
  ldmatrixX4(a_regs[0], a_regs[1], a_regs[2], a_regs[3], a_shared + ((thread % 16) * 24 + (thread / 16) * 8));
  ldmatrixX2(b_regs[0], b_regs[1], b_shared + ((thread % 8) * 24 + ((thread / 8) % 2) * 8));
  mmaBf16(d_regs[0], d_regs[1], d_regs[2], d_regs[3], a_regs[0], a_regs[1], a_regs[2], a_regs[3], b_regs[0], b_regs[1]);

  // kernels.ts:45  const line45 = written(45);
  const int row = thread / 4;
  const int n = (thread % 4) * 2;
  #pragma unroll
  for (int half_value = 0; half_value < 2; ++half_value) {
    *(float2*)(d + ((row + half_value * 8) * 8 + n)) = make_float2(d_regs[half_value * 2], d_regs[half_value * 2 + 1]);
  }
}
