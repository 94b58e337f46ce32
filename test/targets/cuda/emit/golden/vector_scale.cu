// vector_scale, a test

extern "C" __global__ void __launch_bounds__(64, 1) vector_scale(
    const float* __restrict__ x,
    float* __restrict__ y,
    int N) {
  const int block = blockIdx.x;
  const int thread = threadIdx.x;

  // kernels.ts:3  const line3 = written(3);
  const int i = block * 256 + thread * 4;
  float x_regs[4];
  {
    const int valid = N - i;
    const float* const at = x + i;
    if (valid >= 4) {
      const float4 words = *(const float4*)at;
      x_regs[0] = words.x; x_regs[1] = words.y; x_regs[2] = words.z; x_regs[3] = words.w;
    } else {
      #pragma unroll
      for (int e_2 = 0; e_2 < 4; ++e_2) {
        x_regs[e_2] = e_2 < valid ? at[e_2] : 0.0f;
      }
    }
  }

  // kernels.ts:4  const line4 = written(4);
  #pragma unroll
  for (int e = 0; e < 4; ++e) {
    x_regs[e] = x_regs[e] * 0.1f;
  }

  // kernels.ts:5  const line5 = written(5);
  {
    const int valid = N - i;
    float* const at = y + i;
    if (valid >= 4) {
      *(float4*)at = make_float4(x_regs[0], x_regs[1], x_regs[2], x_regs[3]);
    } else {
      if (valid > 0) at[0] = x_regs[0];
      if (valid > 1) at[1] = x_regs[1];
      if (valid > 2) at[2] = x_regs[2];
      if (valid > 3) at[3] = x_regs[3];
    }
  }
}
