// ring_values, a test

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

struct alignas(64) TensorMap { u8 opaque[128]; };
__device__ inline void mbarrierInit(u64* barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :: "r"((u32)__cvta_generic_to_shared(barrier)), "r"(arrivals) : "memory");
}
__device__ inline u32 packBf16(float a, float b) {
  u32 word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(b), "f"(a));
  return word;
}
__device__ inline void mbarrierWait(u64* barrier, u32 parity) {
  asm volatile("{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; @!done bra again; }"
               :: "r"((u32)__cvta_generic_to_shared(barrier)), "r"(parity) : "memory");
}
template <int transposeB>
__device__ __forceinline__ void wgmmaM64N128K16Bf16Ra(float* d, const u32* a, u64 b) {
  asm volatile("{ .reg .pred add; setp.ne.b32 add, 1, 0;"
      " wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, {%64, %65, %66, %67}, %68, add, 1, 1, %69; }"
      :
        "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
        "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
        "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
        "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
        "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(transposeB));
}
__device__ inline u64 descriptor128(const void* start, u64 stride, u64 leading) {
  return (u32)__cvta_generic_to_shared(start) >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | 1ull << 62;
}
template <int pending, int count>
__device__ __forceinline__ void wgmmaWait(float* d) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(pending) : "memory");
  #pragma unroll
  for (int i = 0; i < count; ++i) asm volatile("" : "+f"(d[i]) :: "memory");  // no use of d moves up past the wait
}
__device__ inline void mbarrierArriveWarp(u64* barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0)
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"((u32)__cvta_generic_to_shared(barrier)) : "memory");
}
__device__ inline void mbarrierExpect(u64* barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :: "r"((u32)__cvta_generic_to_shared(barrier)), "r"(bytes) : "memory");
}
__device__ inline void tmaLoad2(void* to, const TensorMap* map, u64* full, int x0, int x1) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
               " [%0], [%1, {%3, %4}], [%2];"
               :: "r"((u32)__cvta_generic_to_shared(to)), "l"(map), "r"((u32)__cvta_generic_to_shared(full)),
                  "r"(x0), "r"(x1)
               : "memory");
}

extern "C" __global__ void __launch_bounds__(256, 1) ring_values(
    const __grid_constant__ TensorMap rows_map,
    const float* __restrict__ weights,
    const u16* __restrict__ rows,
    const float* __restrict__ factor,
    float* __restrict__ out,
    int T) {
  extern __shared__ __align__(1024) unsigned char shared[];
  u16* const rows_shared = (u16*)(shared + 0);  // ring of 2: rows[n/64 2, t 64, n%64 64]
  float* const factor_shared = (float*)(shared + 32768);  // factor[n 128]
  u64* const rows_full = (u64*)(shared + 33280);  // fetch arrives, product waits
  u64* const rows_empty = (u64*)(shared + 33296);  // warps of product arrive, fetch waits
  u64* const factor_full = (u64*)(shared + 33312);  // warps of factors arrive, product waits
  const int thread = threadIdx.x;
  const int warp = __shfl_sync(0xffffffffu, thread / 32, 0);
  if (thread == 0) {
    mbarrierInit(rows_full, 1);
    mbarrierInit(rows_full + 1, 1);
    mbarrierInit(rows_empty, 4);
    mbarrierInit(rows_empty + 1, 4);
    mbarrierInit(factor_full, 2);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();

  if (warp < 4) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 208;");
    // role product: warps 0 to 3, 208 registers a thread

    // roles.ts:5  const line5 = written(5);
    const int row = warp * 16 + (thread % 32) / 4;
    float acc[64];
    #pragma unroll
    for (int i = 0; i < 64; ++i) {
      acc[i] = 0.0f;
    }
    for (int tile = 0; tile < (T + 63) / 64; ++tile) {
      const int slot = tile % 2;
      u32 packed[16];
      #pragma unroll
      for (int p = 0; p < 16; ++p) {
        const int m = row + (p % 2) * 8;
        const int t = tile * 64 + (p / 2) * 8 + (thread % 4) * 2;
        float pair[2];
        {
          const int valid = T - t;
          const float* const at = weights + ((i64)m * T + t);
          #pragma unroll
          for (int e = 0; e < 2; ++e) {
            pair[e] = e < valid ? at[e] : 0.0f;
          }
        }
        packed[p] = packBf16(pair[0], pair[1]);
      }
      mbarrierWait(rows_full + slot, (tile / 2) % 2);
      asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
      wgmmaM64N128K16Bf16Ra<1>(acc, packed, descriptor128(rows_shared + slot * 8192, 1024, 8192));
      wgmmaM64N128K16Bf16Ra<1>(acc, &packed[4], descriptor128(rows_shared + slot * 8192, 1024, 8192) + 128);
      wgmmaM64N128K16Bf16Ra<1>(acc, &packed[8], descriptor128(rows_shared + slot * 8192, 1024, 8192) + 256);
      wgmmaM64N128K16Bf16Ra<1>(acc, &packed[12], descriptor128(rows_shared + slot * 8192, 1024, 8192) + 384);
      asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
      wgmmaWait<0, 64>(acc);
      mbarrierArriveWarp(rows_empty + slot);
    }
    mbarrierWait(factor_full, 0);
    #pragma unroll
    for (int r = 0; r < 32; ++r) {
      const int n = (r / 2) * 8 + (thread % 4) * 2;
      *(float2*)(out + ((row + (r % 2) * 8) * 128 + n)) = make_float2(
          acc[r * 2] * factor_shared[n],
          acc[r * 2 + 1] * factor_shared[n + 1]);
    }
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (warp == 4) {
      // role fetch: warp 4, 40 registers a thread
      if (thread % 32 == 0) {
        for (int tile = 0; tile < (T + 63) / 64; ++tile) {
          const int slot = tile % 2;
          mbarrierWait(rows_empty + slot, 1 - ((tile / 2) % 2));
          mbarrierExpect(rows_full + slot, 16384);
          tmaLoad2(rows_shared + slot * 8192, &rows_map, rows_full + slot, 0, tile * 64);
          tmaLoad2(rows_shared + (slot * 8192 + 4096), &rows_map, rows_full + slot, 64, tile * 64);
        }
      }
    } else if (warp >= 6) {
      // role factors: warps 6 to 7, 40 registers a thread
      const int lane = thread - 192;
      factor_shared[lane] = factor[lane];
      factor_shared[lane + 64] = factor[lane + 64];
      asm volatile("bar.sync 2, 64;" ::: "memory");
      mbarrierArriveWarp(factor_full);
    }
  }
}
