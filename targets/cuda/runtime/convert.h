// Conversions between JavaScript values and C++ ones.
#pragma once
#include <napi.h>

#include "cuda_abi.h"

namespace tokensieve {

// An Error with `code` and `kernels`, as native.ts describes it.
inline Napi::Error toError(Napi::Env env, const Fault& fault) {
  Napi::Error error = Napi::Error::New(env, fault.what());
  error.Set("code", fault.code);
  Napi::Array kernels = Napi::Array::New(env);
  for (const std::string& kernel : fault.kernels) kernels[kernels.Length()] = Napi::String::New(env, kernel);
  error.Set("kernels", kernels);
  return error;
}

inline Napi::Value toNumbers(Napi::Env env, const std::vector<double>& values) {
  Napi::Array array = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); i++) array[i] = Napi::Number::New(env, values[i]);
  return array;
}

inline std::vector<std::string> toStrings(const Napi::Value& value) {
  std::vector<std::string> strings;
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) strings.push_back(array.Get(i).As<Napi::String>());
  return strings;
}

template <class T>
std::vector<T> toIntegers(const Napi::Value& value) {
  std::vector<T> integers;
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) integers.push_back(static_cast<T>(array.Get(i).As<Napi::Number>().Int64Value()));
  return integers;
}

}  // namespace tokensieve
