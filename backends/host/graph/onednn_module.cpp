// SPDX-License-Identifier: Apache-2.0
#include "graph/onednn_module.h"

#include <omp.h>

#include <atomic>
#include <cstring>
#include <exception>
#include <iterator>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <utility>

namespace {

// What a run needs beside the primitive. Making it takes as long as a small part of a product.
struct Objects {
  dnnl::stream stream;
  dnnl::memory left, right, out, scratch;
};

// Immutable once made, but for the objects of the last run: one run at a time takes them, others make their own.
struct Product {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::memory::desc left, right, out, scratch;
  dnnl::matmul matmul;
  mutable std::atomic<Objects*> spare{nullptr};

  Product() = default;
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;
  ~Product() { delete spare.load(std::memory_order_acquire); }

  std::unique_ptr<Objects> take() const {
    std::unique_ptr<Objects> taken(spare.exchange(nullptr, std::memory_order_acquire));
    if (taken != nullptr) { return taken; }
    const auto memory = [this](const dnnl::memory::desc& what) {
      return dnnl::memory(what, engine, nullptr);  // its address comes with each run
    };
    return std::make_unique<Objects>(
        Objects{dnnl::stream(engine), memory(left), memory(right), memory(out), memory(scratch)});
  }
  void give_back(std::unique_ptr<Objects> objects) const {
    Objects* none = nullptr;
    if (spare.compare_exchange_strong(none, objects.get(), std::memory_order_release, std::memory_order_relaxed)) {
      (void)objects.release();
    }
  }
};

static_assert(int{HALYARD_ONEDNN_BF16} == int{dnnl_bf16} && int{HALYARD_ONEDNN_F32} == int{dnnl_f32} &&
              int{HALYARD_ONEDNN_S32} == int{dnnl_s32} && int{HALYARD_ONEDNN_S8} == int{dnnl_s8});

// The library's own threads spin for milliseconds after each product, on the cores that the device's threads want next:
// the host shares products out itself. The number is a setting of the calling thread, which may be the user's, and is
// left as it was found.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { set(1); }
  ~OneThread() { set(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  void set(int threads) const {
    if (before_ != 1) { omp_set_num_threads(threads); }
  }
  const int before_;
};

dnnl::memory::desc describe(std::int32_t element, std::int64_t batch, std::int64_t rows, std::int64_t columns,
                            const std::int64_t (&strides)[3]) {
  const auto type = static_cast<dnnl::memory::data_type>(element);
  if (batch == 1) { return {{rows, columns}, type, dnnl::memory::dims{strides[1], strides[2]}}; }
  // A batch stride of 0 is one operand for all: the library's own broadcasting.
  const std::int64_t own = strides[0] == 0 ? 1 : batch;
  const std::int64_t step = strides[0] == 0 ? rows * columns : strides[0];
  return {{own, rows, columns}, type, dnnl::memory::dims{step, strides[1], strides[2]}};
}

void* create(const halyard_matmul* shape, std::uint64_t* scratch_bytes, char* why, std::uint64_t why_size) {
  const OneThread alone;  // how the library cuts a product up depends on it
  try {
    auto product = std::make_unique<Product>();
    product->left = describe(shape->in_type, shape->batch, shape->m, shape->k, shape->left);
    product->right = describe(shape->in_type, shape->batch, shape->k, shape->n, shape->right);
    product->out = describe(shape->out_type, shape->batch, shape->m, shape->n, shape->out);
    dnnl::primitive_attr attributes;
    // The library's own scratchpad belongs to the thread that made the primitive; ours belongs to the run.
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc how({product->left, product->right, product->out}, attributes, product->engine);
    product->scratch = how.scratchpad_desc();
    *scratch_bytes = product->scratch.get_size();
    product->matmul = dnnl::matmul(how);
    return product.release();
  } catch (const std::exception& error) {
    std::strncpy(why, error.what(), why_size - 1);
    why[why_size - 1] = 0;
    return nullptr;
  }
}

int run(const void* opaque, const void* left, const void* right, void* out, void* scratch) {
  const auto& product = *static_cast<const Product*>(opaque);
  const OneThread alone;
  try {
    std::unique_ptr<Objects> objects = product.take();
    const auto argument = [](int which, const dnnl::memory& memory, const void* at) {
      memory.set_data_handle(const_cast<void*>(at));
      return dnnl_exec_arg_t{which, memory.get()};
    };
    const dnnl_exec_arg_t arguments[] = {
        argument(DNNL_ARG_SRC, objects->left, left), argument(DNNL_ARG_WEIGHTS, objects->right, right),
        argument(DNNL_ARG_DST, objects->out, out), argument(DNNL_ARG_SCRATCHPAD, objects->scratch, scratch)};
    // Not execute() of the C++ face, which puts them into a table of its own for each run.
    if (dnnl_primitive_execute(product.matmul.get(), objects->stream.get(), static_cast<int>(std::size(arguments)),
                               arguments) != dnnl_success) {
      return 1;
    }
    objects->stream.wait();
    product.give_back(std::move(objects));
  } catch (const std::exception&) { return 1; }
  return 0;
}

const halyard_onednn kOneDnn = {create, run, [](void* product) { delete static_cast<Product*>(product); }};

}  // namespace

extern "C" __attribute__((visibility("default"))) const halyard_onednn* halyard_onednn_v1() { return &kOneDnn; }
