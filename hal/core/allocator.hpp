// SPDX-License-Identifier: Apache-2.0
// Host memory from the application's allocator, or from the C library. Explicit, object by object: replacing operator
// new inside this library would catch strings that others free.
#pragma once

#include <cstddef>
#include <new>
#include <utility>
#include <vector>

#include "hal/hal.h"

namespace hal::core {

// The allocator of an instance that was given none.
const hal_allocator& c_library();

// Throws std::bad_alloc.
inline void* allocate(const hal_allocator& from, std::size_t bytes, std::size_t alignment) {
  void* address = from.allocate(from.user, bytes, alignment);
  if (address == nullptr) { throw std::bad_alloc(); }
  return address;
}

// One object. T may keep its constructor and destructor to itself and its friend Storage.
struct Storage {
  template <class T, class... Args>
  static T* make(const hal_allocator& from, Args&&... args) {
    void* place = allocate(from, sizeof(T), alignof(T));
    try {
      return new (place) T(std::forward<Args>(args)...);
    } catch (...) {
      from.deallocate(from.user, place, sizeof(T), alignof(T));
      throw;
    }
  }
  // By value: the object may hold the last reference to whoever owns the allocator's table.
  template <class T>
  static void unmake(const hal_allocator from, T* object) {
    object->~T();
    from.deallocate(from.user, object, sizeof(T), alignof(T));
  }
};

// For containers and shared pointers. Holds the table, not a pointer to it: containers outlive objects.
template <class T>
struct FromHost {
  using value_type = T;
  hal_allocator from;

  explicit FromHost(const hal_allocator& table) : from(table) {}
  template <class U>
  FromHost(const FromHost<U>& other) : from(other.from) {}  // NOLINT: containers rebind without asking
  T* allocate(std::size_t count) { return static_cast<T*>(core::allocate(from, count * sizeof(T), alignof(T))); }
  void deallocate(T* address, std::size_t count) { from.deallocate(from.user, address, count * sizeof(T), alignof(T)); }
  template <class U>
  bool operator==(const FromHost<U>& other) const {
    return from.user == other.from.user && from.allocate == other.from.allocate;
  }
};

template <class T>
using HostVector = std::vector<T, FromHost<T>>;

}  // namespace hal::core
