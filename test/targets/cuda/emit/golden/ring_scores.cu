// ring_scores, a test

using u8 = unsigned char;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

struct alignas(64) TensorMap { u8 opaque[128]; };
__device__ inline void mbarrierInit(u64* barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :: "r"((u32)__cvta_generic_to_shared(barrier)), "r"(arrivals) : "memory");
}
__device__ inline void mbarrierWait(u64* barrier, u32 parity) {
  asm volatile("{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; @!done bra again; }"
               :: "r"((u32)__cvta_generic_to_shared(barrier)), "r"(parity) : "memory");
}
__device__ __forceinline__ void wgmmaM64N64K32E4m3First(float* d, u64 a, u64 b) {
  asm volatile("{ .reg .pred add; setp.ne.b32 add, 0, 0;"
      " wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, add, 1, 1; }"
      :
        "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3]), "=f"(d[4]), "=f"(d[5]), "=f"(d[6]), "=f"(d[7]),
        "=f"(d[8]), "=f"(d[9]), "=f"(d[10]), "=f"(d[11]), "=f"(d[12]), "=f"(d[13]), "=f"(d[14]), "=f"(d[15]),
        "=f"(d[16]), "=f"(d[17]), "=f"(d[18]), "=f"(d[19]), "=f"(d[20]), "=f"(d[21]), "=f"(d[22]), "=f"(d[23]),
        "=f"(d[24]), "=f"(d[25]), "=f"(d[26]), "=f"(d[27]), "=f"(d[28]), "=f"(d[29]), "=f"(d[30]), "=f"(d[31])
      : "l"(a), "l"(b));
}
__device__ inline u64 descriptor128(const void* start, u64 stride, u64 leading) {
  return (u32)__cvta_generic_to_shared(start) >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | 1ull << 62;
}
__device__ __forceinline__ void wgmmaM64N64K32E4m3(float* d, u64 a, u64 b) {
  asm volatile("{ .reg .pred add; setp.ne.b32 add, 1, 0;"
      " wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, add, 1, 1; }"
      :
        "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
        "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "l"(a), "l"(b));
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
__device__ inline void tmaLoad2EvictFirst(void* to, const TensorMap* map, u64* full, int x0, int x1) {
  u64 policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint"
               " [%0], [%1, {%3, %4}], [%2], %5;"
               :: "r"((u32)__cvta_generic_to_shared(to)), "l"(map), "r"((u32)__cvta_generic_to_shared(full)),
                  "r"(x0), "r"(x1), "l"(policy)
               : "memory");
}

extern "C" __global__ void __launch_bounds__(384, 1) ring_scores(
    const __grid_constant__ TensorMap q_map,
    const __grid_constant__ TensorMap keys_map,
    const u8* __restrict__ q,
    const u8* __restrict__ keys,
    float* __restrict__ out,
    int T) {
  extern __shared__ __align__(1024) unsigned char shared[];
  u8* const q_shared = (u8*)(shared + 0);  // q[n 128, d 128]
  u8* const keys_shared = (u8*)(shared + 16384);  // ring of 2: keys[t 128, d 128]
  u64* const q_full = (u64*)(shared + 49152);  // fetch arrives, product waits
  u64* const keys_full = (u64*)(shared + 49160);  // fetch arrives, product waits
  u64* const keys_empty = (u64*)(shared + 49176);  // warps of product arrive, fetch waits
  const int block = blockIdx.x;
  const int blocks = gridDim.x;
  const int thread = threadIdx.x;
  const int warp = __shfl_sync(0xffffffffu, thread / 32, 0);
  if (thread == 0) {
    mbarrierInit(q_full, 1);
    mbarrierInit(keys_full, 1);
    mbarrierInit(keys_full + 1, 1);
    mbarrierInit(keys_empty, 8);
    mbarrierInit(keys_empty + 1, 8);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();

  if (warp < 8) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
    // role product: warps 0 to 7, 224 registers a thread

    // roles.ts:5  const line5 = written(5);
    const int row = warp * 16 + (thread % 32) / 4;
    const int start = (warp / 4) * 8192;
    float low[32];
    float high[32];
    mbarrierWait(q_full, 0);
    int tile = block;
    int round = 0;
    while (tile * 128 < T) {
      const int slot = round % 2;
      const int parity = (round / 2) % 2;

      // roles.ts:7  const line7 = written(7);
      mbarrierWait(keys_full + slot, parity);
      asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
      wgmmaM64N64K32E4m3First(low, descriptor128(keys_shared + (slot * 16384 + start), 1024, 16), descriptor128(q_shared, 1024, 16));
      wgmmaM64N64K32E4m3(low, descriptor128(keys_shared + (slot * 16384 + start), 1024, 16) + 2, descriptor128(q_shared, 1024, 16) + 2);
      wgmmaM64N64K32E4m3(low, descriptor128(keys_shared + (slot * 16384 + start), 1024, 16) + 4, descriptor128(q_shared, 1024, 16) + 4);
      wgmmaM64N64K32E4m3(low, descriptor128(keys_shared + (slot * 16384 + start), 1024, 16) + 6, descriptor128(q_shared, 1024, 16) + 6);
      asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
      wgmmaM64N64K32E4m3First(high, descriptor128(keys_shared + (slot * 16384 + start), 1024, 16), descriptor128(q_shared, 1024, 16) + 512);
      wgmmaM64N64K32E4m3(high, descriptor128(keys_shared + (slot * 16384 + start), 1024, 16) + 2, descriptor128(q_shared, 1024, 16) + 514);
      wgmmaM64N64K32E4m3(high, descriptor128(keys_shared + (slot * 16384 + start), 1024, 16) + 4, descriptor128(q_shared, 1024, 16) + 516);
      wgmmaM64N64K32E4m3(high, descriptor128(keys_shared + (slot * 16384 + start), 1024, 16) + 6, descriptor128(q_shared, 1024, 16) + 518);
      asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");

      // roles.ts:8  const line8 = written(8);
      wgmmaWait<1, 32>(low);
      #pragma unroll
      for (int r = 0; r < 16; ++r) {
        const int t = tile * 128 + row + (r % 2) * 8;
        if (t < T) {
          *(float2*)(out + ((i64)t * 128 + ((r / 2) * 8 + (thread % 4) * 2))) = make_float2(low[r * 2], low[r * 2 + 1]);
        }
      }
      wgmmaWait<0, 32>(high);
      mbarrierArriveWarp(keys_empty + slot);
      #pragma unroll
      for (int r = 0; r < 16; ++r) {
        const int t = tile * 128 + row + (r % 2) * 8;
        if (t < T) {
          *(float2*)(out + ((i64)t * 128 + ((r / 2) * 8 + (thread % 4) * 2 + 64))) = make_float2(high[r * 2], high[r * 2 + 1]);
        }
      }
      tile = tile + blocks;
      round = round + 1;
    }
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (warp == 8) {
      // role fetch: warp 8, 40 registers a thread
      if (thread == 256) {
        mbarrierExpect(q_full, 16384);
        tmaLoad2(q_shared, &q_map, q_full, 0, 0);
        int tile = block;
        int round = 0;
        while (tile * 128 < T) {
          const int slot = round % 2;
          const int parity = (round / 2) % 2;
          mbarrierWait(keys_empty + slot, 1 - parity);
          mbarrierExpect(keys_full + slot, 16384);
          tmaLoad2EvictFirst(keys_shared + slot * 16384, &keys_map, keys_full + slot, 0, tile * 128);
          tile = tile + blocks;
          round = round + 1;
        }
      }
    }
  }
}
