// Names for native things in JavaScript: a slot number and the slot's generation in one integer below 2^53.
// A freed slot gets a new generation, so an old handle is found out instead of reaching somebody else's memory.
#pragma once
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

namespace tokensieve {

template <class T>
class Handles {
 public:
  double add(std::shared_ptr<T> item) {
    if (vacant_.empty()) {
      vacant_.push_back(slots_.size());
      slots_.emplace_back();
    }
    const size_t index = vacant_.back();
    vacant_.pop_back();
    slots_[index].item = std::move(item);
    return static_cast<double>(slots_[index].generation) * kSlots + static_cast<double>(index);
  }

  // Null when the handle is stale or was never given out.
  std::shared_ptr<T> find(double handle) const {
    const size_t index = indexOf(handle);
    return index < slots_.size() && slots_[index].generation == std::floor(handle / kSlots) ? slots_[index].item : nullptr;
  }

  // As find, and the handle is stale from now on.
  std::shared_ptr<T> take(double handle) {
    std::shared_ptr<T> item = find(handle);
    if (item) {
      Slot& slot = slots_[indexOf(handle)];
      slot.item = nullptr;
      slot.generation++;
      vacant_.push_back(indexOf(handle));
    }
    return item;
  }

 private:
  static constexpr double kSlots = 1 << 24;
  struct Slot {
    std::shared_ptr<T> item;
    uint32_t generation = 0;
  };
  static size_t indexOf(double handle) { return handle >= 0 ? static_cast<size_t>(std::fmod(handle, kSlots)) : SIZE_MAX; }

  std::vector<Slot> slots_;
  std::vector<size_t> vacant_;
};

}  // namespace tokensieve
