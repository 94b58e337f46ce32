#include "nvml.h"

#include "convert.h"

namespace tokensieve {
namespace {

// Enumerators by their value in nvml.h.
enum Clock : int { kSm = 1, kMemory = 2 };

Napi::Value orNull(Napi::Env env, int result, double value) { return result == 0 ? Napi::Number::New(env, value) : env.Null(); }

}  // namespace

Napi::Value nvmlRead(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Nvml* nvml = loadNvml(toStrings(info[0]));
  NvmlDevice device = nullptr;
  const std::string busId = info[1].As<Napi::String>();
  if (!nvml || nvml->nvmlDeviceGetHandleByPciBusId_v2(busId.c_str(), &device) != 0) return env.Null();

  Napi::Object result = Napi::Object::New(env);
  char driver[96] = "";
  result.Set("driver", nvml->nvmlSystemGetDriverVersion(driver, sizeof driver) == 0 ? Napi::String::New(env, driver) : env.Null());
  unsigned value = 0;
  const auto set = [&](const char* name, int read, double scale) { result.Set(name, orNull(env, read, value * scale)); };
  set("smMHz", nvml->nvmlDeviceGetClockInfo(device, kSm, &value), 1);
  set("memoryMHz", nvml->nvmlDeviceGetClockInfo(device, kMemory, &value), 1);
  set("watts", nvml->nvmlDeviceGetPowerUsage(device, &value), 1e-3);
  set("limitWatts", nvml->nvmlDeviceGetEnforcedPowerLimit(device, &value), 1e-3);
  return result;
}

}  // namespace tokensieve
