// Compilation of CUDA C++ text with NVRTC, on a thread of Node's pool; needs no GPU.
#pragma once
#include <napi.h>

namespace tokensieve {

// compile(text, fileName, options) -> Promise<{ok, image, log}>: a cubin when the options name an sm_ architecture,
// PTX (with its final NUL) when they name a compute_ one. After nvrtcInfo.
Napi::Value compile(const Napi::CallbackInfo& info);
// nvrtcInfo(paths) -> {version, architectures}; loads NVRTC.
Napi::Value nvrtcInfo(const Napi::CallbackInfo& info);

}  // namespace tokensieve
