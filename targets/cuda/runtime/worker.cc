#include "worker.h"

#include <chrono>
#include <thread>
#include <utility>

#include "convert.h"

namespace tokensieve {

std::shared_ptr<Worker> Worker::start(Napi::Env env) {
  auto worker = std::make_shared<Worker>();
  worker->replies_ = Replies::New(env, "tokensieve device", 0, 1, worker.get());
  std::thread([worker] { worker->run(); }).detach();
  env.AddCleanupHook([worker] { worker->abandon(); });
  return worker;
}

void Worker::run() {
  std::unique_ptr<Gpu> gpu;
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) break;
      job = std::move(jobs_.front());
      jobs_.pop();
    }
    job(gpu);
  }
  gpu.reset();
  replies_.Release();
  std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

bool Worker::push(Job job) {
  std::lock_guard lock(mutex_);
  if (stopping_) return false;
  jobs_.push(std::move(job));
  changed_.notify_all();
  return true;
}

void Worker::stop() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

// At exit the thread must be out of the driver, and of Node's replies, before either is torn down. The wait is bounded because a
// kernel that never ends must not prevent the exit.
void Worker::abandon() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  jobs_ = {};
  changed_.notify_all();
  changed_.wait_for(lock, std::chrono::seconds(5), [&] { return ended_; });
}

void Worker::post(Job job) {
  postAlways([this, job = std::move(job)](std::unique_ptr<Gpu>& gpu) {
    if (!kept_) job(gpu);
  });
}

void Worker::postAlways(Job job) {
  push([this, job = std::move(job)](std::unique_ptr<Gpu>& gpu) {
    try {
      job(gpu);
    } catch (const Fault& fault) {
      if (!kept_) kept_ = fault;
    }
  });
}

Napi::Promise Worker::request(const Napi::Object& keep, Request request) {
  const Napi::Env env = keep.Env();
  auto* answer = new Answer{Napi::Promise::Deferred::New(env), Napi::Persistent(keep), nullptr, std::nullopt};
  const Napi::Promise promise = answer->deferred.Promise();
  if (awaited_++ == 0) replies_.Ref(env);  // a pending promise keeps the process alive, an open device does not
  const bool pushed = push([this, answer, request = std::move(request)](std::unique_ptr<Gpu>& gpu) {
    try {
      if (kept_) throw Fault(*std::exchange(kept_, std::nullopt));
      answer->finish = request(gpu);
    } catch (const Fault& fault) {
      answer->fault = fault;
    }
    replies_.NonBlockingCall(answer);
  });
  if (!pushed) {
    answer->fault = Fault("CLOSED", "the device is closed");
    deliver(env, {}, this, answer);
  }
  return promise;
}

void Worker::deliver(Napi::Env env, Napi::Function, Worker* worker, Answer* answer) {
  if (env == nullptr) return;  // Node is shutting down: the answer's references are no longer ours to delete
  const std::unique_ptr<Answer> owned(answer);
  if (--worker->awaited_ == 0) worker->replies_.Unref(env);
  if (answer->fault)
    answer->deferred.Reject(toError(env, *answer->fault).Value());
  else
    answer->deferred.Resolve(answer->finish(env, answer->kept.Value()));
}

}  // namespace tokensieve
