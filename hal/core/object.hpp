// SPDX-License-Identifier: Apache-2.0
// The head of every counted object: what it is, how many own it, how it goes.
#pragma once

#include <atomic>
#include <cstdint>

#include "hal/driver.h"

namespace hal::core {

enum class Kind : std::uint32_t {
  error = 0x48414c01,  // a tag that plain memory seldom holds, so a wrong pointer is noticed
  instance,
  device,
  queue,
  timeline,
  buffer,
  pool,
  program,
  commands,
  peer,
  physical,
  pending,  // of the core alone, as the next
  grave,
};

inline void init(hal_object& object, Kind kind, void (*dispose)(hal_object*)) {
  object = {static_cast<std::uint32_t>(kind), 1, dispose};
}

inline void retain(hal_object& object) { __atomic_fetch_add(&object.owners, 1U, __ATOMIC_RELAXED); }

// True once any object has a label or an observer; see annotation.hpp.
extern std::atomic<bool> annotations_in_use;
// Drops what is remembered about an object whose last owner has let go, and tells its observer.
void forget(hal_object& object);

inline void release(hal_object& object) {
  // acq_rel: whoever takes the last owner sees every write of the others before it disposes.
  if (__atomic_fetch_sub(&object.owners, 1U, __ATOMIC_ACQ_REL) != 1U) { return; }
  if (annotations_in_use.load(std::memory_order_relaxed)) { forget(object); }
  object.dispose(&object);
}

// One owner of an object whose type starts with hal_object (or derives from such a type).
template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* adopted) : object_(adopted) {}
  static Ref share(T* object) {
    if (object != nullptr) { retain(object->object); }
    return Ref(object);
  }
  Ref(const Ref& other) : Ref(share(other.object_)) {}
  Ref(Ref&& other) noexcept : object_(other.take()) {}
  Ref& operator=(Ref other) noexcept {
    T* mine = object_;
    object_ = other.object_;
    other.object_ = mine;
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) { release(object_->object); }
  }

  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }
  T* take() {
    T* mine = object_;
    object_ = nullptr;
    return mine;
  }

 private:
  T* object_ = nullptr;
};

// One more owner, unless the last has gone and the object is on its way out; then empty. The caller makes sure that the
// memory is still there, by the lock under which the object takes itself out of sight.
template <class T>
Ref<T> try_share(T* object) {
  std::uint32_t owners = __atomic_load_n(&object->object.owners, __ATOMIC_RELAXED);
  while (owners != 0) {
    if (__atomic_compare_exchange_n(&object->object.owners, &owners, owners + 1, true, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED)) {
      return Ref<T>(object);
    }
  }
  return {};
}

}  // namespace hal::core
