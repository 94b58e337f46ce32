// The thread on which every driver call of one device runs, in the order of the calls from JavaScript.
// One thread, because a CUDA context is current per thread and because a call that waits must not hold up the event loop.
#pragma once
#include <napi.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>

#include "gpu.h"

namespace tokensieve {

class Worker {
 public:
  using Job = std::function<void(std::unique_ptr<Gpu>&)>;
  // Makes the result on the JavaScript thread; `kept` is the object that the request kept alive.
  using Finish = std::function<Napi::Value(Napi::Env, const Napi::Object& kept)>;
  using Request = std::function<Finish(std::unique_ptr<Gpu>&)>;

  static std::shared_ptr<Worker> start(Napi::Env env);

  // Runs `job` later. A failure is kept for the next request; until then jobs are skipped, for their inputs may be missing.
  void post(Job job);
  // As post, for what must never be skipped: frees.
  void postAlways(Job job);
  // Runs `request` later and settles the promise; rejects with the kept failure when there is one. `keep` is not collected until then.
  Napi::Promise request(const Napi::Object& keep, Request request);
  // Lets the jobs before it finish, frees the device and ends the thread. What comes later is dropped, requests are rejected.
  void stop();
  // As stop, for the end of the process: drops the jobs and waits until the thread has freed the device, for at most 5 s.
  void abandon();

 private:
  struct Answer {
    Napi::Promise::Deferred deferred;
    Napi::ObjectReference kept;  // here and not in the job, which dies on the worker thread
    Finish finish;
    std::optional<Fault> fault;
  };
  static void deliver(Napi::Env env, Napi::Function, Worker* worker, Answer* answer);
  using Replies = Napi::TypedThreadSafeFunction<Worker, Answer, deliver>;

  void run();
  bool push(Job job);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::queue<Job> jobs_;
  bool stopping_ = false, ended_ = false;
  Replies replies_;
  int awaited_ = 0;            // JavaScript thread only
  std::optional<Fault> kept_;  // worker thread only
};

}  // namespace tokensieve
