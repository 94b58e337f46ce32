// scalar_math, a test

using u32 = unsigned int;
using i64 = long long;

// one instruction, 2 ulp; results below the smallest normal number are 0
__device__ inline float exp2Approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

extern "C" __global__ void __launch_bounds__(64, 1) scalar_math(
    const float* __restrict__ x,
    const float* __restrict__ y,
    const int* __restrict__ n,
    const int* __restrict__ m,
    float* __restrict__ out,
    int N) {
  const int block = blockIdx.x;
  const int thread = threadIdx.x;
  const int i = block * 64 + thread;
  if (i < N) {
    const float x_value = x[i];
    const float y_value = y[i];
    const int n_value = n[i];
    const int m_value = m[i];
    out[(i64)i * 31] = expf(x_value);
    out[(i64)i * 31 + 1] = exp2Approx(x_value);
    out[(i64)i * 31 + 2] = logf(x_value);
    out[(i64)i * 31 + 3] = log2f(x_value);
    out[(i64)i * 31 + 4] = log1pf(x_value);
    out[(i64)i * 31 + 5] = sqrtf(x_value);
    out[(i64)i * 31 + 6] = fabsf(x_value);
    out[(i64)i * 31 + 7] = floorf(x_value);
    out[(i64)i * 31 + 8] = ceilf(x_value);
    out[(i64)i * 31 + 9] = tanhf(x_value);
    out[(i64)i * 31 + 10] = sinf(x_value);
    out[(i64)i * 31 + 11] = cosf(x_value);
    out[(i64)i * 31 + 12] = fmaxf(x_value, y_value);
    out[(i64)i * 31 + 13] = fminf(x_value, y_value);
    out[(i64)i * 31 + 14] = x_value / y_value;
    out[(i64)i * 31 + 15] = (float)(n_value / m_value);
    out[(i64)i * 31 + 16] = (float)(n_value % m_value);
    out[(i64)i * 31 + 17] = (float)max(n_value, m_value);
    out[(i64)i * 31 + 18] = (float)abs(n_value);
    out[(i64)i * 31 + 19] = (float)__popc(n_value);
    out[(i64)i * 31 + 20] = __uint_as_float(__float_as_uint(x_value) ^ 0x80000000u);
    out[(i64)i * 31 + 21] = (float)(n_value >> 1);
    out[(i64)i * 31 + 22] = (float)((u32)n_value >> 28);
    out[(i64)i * 31 + 23] = (float)(n_value << (m_value & 3 & 31));
    out[(i64)i * 31 + 24] = -16777216.0f;
    out[(i64)i * 31 + 25] = (float)~n_value;
    out[(i64)i * 31 + 26] = 5.0f;
    out[(i64)i * 31 + 27] = (float)__float2int_rz(x_value);
    out[(i64)i * 31 + 28] = (float)!(x_value < y_value && (n_value > m_value || m_value == 3));
    out[(i64)i * 31 + 29] = x_value < y_value ? (n_value != 0 ? __uint_as_float(0x7f800000u) : __uint_as_float(0xff800000u)) : -0.0f;
    out[(i64)i * 31 + 30] = -(x_value - (y_value - 0.1f));
  }
}
