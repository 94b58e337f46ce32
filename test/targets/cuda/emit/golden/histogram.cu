// histogram, a test

using u32 = unsigned int;

extern "C" __global__ void __launch_bounds__(64, 1) histogram(
    const u32* __restrict__ x,
    u32* __restrict__ counts,
    u32* __restrict__ most,
    int N) {
  extern __shared__ __align__(1024) unsigned char shared[];
  u32* const bins = (u32*)(shared + 0);  // bins[b 16]
  const int thread = threadIdx.x;

  // kernels.ts:22  const line22 = written(22);
  if (thread < 16) {
    bins[thread] = 0u;
  }
  __syncthreads();

  // kernels.ts:23  const line23 = written(23);
  for (int i = thread; i < N; i += 64) {
    atomicAdd(&bins[(int)(x[i] & 15u)], 1u);
  }
  __syncthreads();

  // kernels.ts:24  const line24 = written(24);
  u32 most_value = 0u;
  for (int b = 0; b < 16; ++b) {
    most_value = max(most_value, bins[b]);
  }
  if (thread < 16) {
    counts[thread] = bins[thread];
  }
  if (thread == 0) {
    most[0] = most_value;
  }
}
