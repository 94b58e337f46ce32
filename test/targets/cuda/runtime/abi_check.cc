// Compiles only if cuda_abi.h says what the toolkit's cuda.h says: parameter by parameter in size and kind, value by value.
#define __CUDA_API_VERSION_INTERNAL  // plain names mean the old symbols, as in dlsym
#include <cuda.h>

#include <type_traits>

#include "../../../../targets/cuda/runtime/cuda_abi.h"

namespace abi = tokensieve;

template <class A, class B>
constexpr bool same = sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>;

template <class Ours, class Theirs>
struct Match : std::false_type {};
template <class... A, class Result, class... B>
struct Match<int (*)(A...), Result (*)(B...)> {
  template <class X, class Y>
  static constexpr bool all() {
    if constexpr (sizeof...(A) == sizeof...(B)) return (same<A, B> && ...);
    return false;
  }
  static constexpr bool value = all<void, void>();
};

#define CHECK(name, ...) static_assert(Match<decltype(abi::Driver::name), decltype(&::name)>::value, #name);
TOKENSIEVE_DRIVER(CHECK)
TOKENSIEVE_DRIVER_OPTIONAL(CHECK)

static_assert(sizeof(abi::CUtensorMap) == sizeof(::CUtensorMap) && alignof(abi::CUtensorMap) == alignof(::CUtensorMap));
static_assert(+abi::kMultiprocessors == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
static_assert(+abi::kL2Bytes == CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
static_assert(+abi::kMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(+abi::kMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(+abi::kMaxSharedPerBlockOptin == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
static_assert(+abi::kMaxThreads == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
static_assert(+abi::kStaticSharedBytes == CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
static_assert(+abi::kLocalBytes == CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
static_assert(+abi::kRegisters == CU_FUNC_ATTRIBUTE_NUM_REGS);
static_assert(+abi::kMaxDynamicSharedBytes == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
static_assert(+abi::kInfoLog == CU_JIT_INFO_LOG_BUFFER && +abi::kInfoLogBytes == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES);
static_assert(+abi::kErrorLog == CU_JIT_ERROR_LOG_BUFFER && +abi::kErrorLogBytes == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
static_assert(+abi::kNonBlocking == CU_STREAM_NON_BLOCKING && +abi::kTimed == CU_EVENT_DEFAULT);
static_assert(+abi::kBlockingSyncUntimed == (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING));
static_assert(+abi::kInterleaveNone == CU_TENSOR_MAP_INTERLEAVE_NONE && +abi::kL2Promotion256 == CU_TENSOR_MAP_L2_PROMOTION_L2_256B);
static_assert(+abi::kFillZero == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
// the tables in driver.ts
static_assert(CU_TENSOR_MAP_DATA_TYPE_UINT8 == 0 && CU_TENSOR_MAP_DATA_TYPE_UINT32 == 2 && CU_TENSOR_MAP_DATA_TYPE_INT32 == 3);
static_assert(CU_TENSOR_MAP_DATA_TYPE_FLOAT16 == 6 && CU_TENSOR_MAP_DATA_TYPE_FLOAT32 == 7 && CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 == 9);
static_assert(CU_TENSOR_MAP_SWIZZLE_NONE == 0 && CU_TENSOR_MAP_SWIZZLE_32B == 1 && CU_TENSOR_MAP_SWIZZLE_64B == 2);
static_assert(CU_TENSOR_MAP_SWIZZLE_128B == 3);

#if __has_include(<nvml.h>)
#include <nvml.h>
#define CHECK_NVML(name, ...) static_assert(Match<decltype(abi::Nvml::name), decltype(&::name)>::value, #name);
TOKENSIEVE_NVML(CHECK_NVML)
static_assert(NVML_CLOCK_SM == 1 && NVML_CLOCK_MEM == 2);  // nvml.cc
#endif
