// Clocks and power of a GPU as the management library (NVML) tells them; it needs no context and is not there in every container.
#pragma once
#include <napi.h>

namespace tokensieve {

// nvmlRead(paths, pciBusId) -> {driver, smMHz, memoryMHz, watts, limitWatts}, each null when it cannot be read; null without NVML.
Napi::Value nvmlRead(const Napi::CallbackInfo& info);

}  // namespace tokensieve
