// row_centre, a test

using i64 = long long;

extern "C" __global__ void __launch_bounds__(64, 1) row_centre(
    const float* __restrict__ x,
    float* __restrict__ y,
    float* __restrict__ total,
    int R) {
  extern __shared__ __align__(1024) unsigned char shared[];
  float* const partial = (float*)(shared + 0);  // partial[c 64]
  const int block = blockIdx.x;
  const int thread = threadIdx.x;

  // kernels.ts:12  const line12 = written(12);
  const float x_value = x[(i64)block * 64 + thread];

  // kernels.ts:13  const line13 = written(13);
  partial[thread] = x_value;
  __syncthreads();
  int width = 32;
  for (int level = 0; level < 6; ++level) {
    if (thread < width) {
      partial[thread] = partial[thread] + partial[thread + width];
    }
    __syncthreads();
    width = width >> 1;
  }
  const float sum = partial[0];

  // kernels.ts:14  const line14 = written(14);
  y[(i64)block * 64 + thread] = x_value - sum * 0.015625f;
  if (thread == 0) {
    total[block] = sum;
  }
}
