#pragma once

#include <array>
#include <cstddef>
#include <type_traits>
#include <vector>

namespace redis_lock::detail {

/// A vector of plain values. The first `Count` of them need no allocation.
template <class Value, std::size_t Count>
class SmallVector {
  static_assert(std::is_trivially_copyable_v<Value>);

 public:
  void push_back(Value value) {
    if (size_ < Count) {
      few_[size_] = value;
    } else {
      if (size_ == Count) many_.assign(few_.begin(), few_.end());
      many_.push_back(value);
    }
    ++size_;
  }
  void clear() noexcept {
    size_ = 0;
    many_.clear();
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] const Value* begin() const noexcept {
    return size_ <= Count ? few_.data() : many_.data();
  }
  [[nodiscard]] const Value* end() const noexcept { return begin() + size_; }
  [[nodiscard]] const Value& operator[](std::size_t i) const { return begin()[i]; }
  [[nodiscard]] Value& back() { return size_ <= Count ? few_[size_ - 1] : many_.back(); }

 private:
  std::array<Value, Count> few_;
  std::vector<Value> many_;  // all of them, once there are more
  std::size_t size_ = 0;
};

}  // namespace redis_lock::detail
