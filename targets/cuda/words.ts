/** Identifiers that a CUDA C++ text cannot give away: keywords, built-in variables, and functions and types that the emitter uses. */
export const cudaWords: readonly string[] = `
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await co_return co_yield
compl concept const
const_cast consteval constexpr constinit continue decltype default delete do double dynamic_cast else enum explicit export extern false
float for friend goto
if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast
requires return short
signed sizeof static static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename union
unsigned using virtual void
volatile wchar_t while xor xor_eq NULL linux unix
blockIdx blockDim gridDim threadIdx warpSize half
float2 float3 float4 int2 int3 int4 uint2 uint3 uint4 make_float2 make_float4 make_int2 make_int4 make_uint2 make_uint4 dim3
u8 u16 u32 u64 i64 TensorMap shared block blocks thread warp
expf exp2f logf log2f log1pf sqrtf fabsf abs floorf ceilf tanhf sinf cosf fmaxf fminf fmodf max min atomicAdd
`
  .trim()
  .split(/\s+/);
