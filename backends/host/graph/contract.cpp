// SPDX-License-Identifier: Apache-2.0
// An einsum as matrix products, one for each batch: through oneDNN where it is large enough and of a type that oneDNN
// sums as we must, else through our own loops. Operands that are not plain matrices are copied into ones first.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <type_traits>
#include <vector>

#include "driver_kit/errors.hpp"
#include "graph/byte_product.hpp"
#include "graph/contraction.hpp"
#include "graph/element.hpp"
#include "graph/lines.hpp"
#include "graph/loops.hpp"
#include "graph/matrix_product.hpp"
#include "graph/onednn.hpp"
#include "graph/step.hpp"
#include "host.hpp"
#include "program.hpp"

namespace hal::host {

namespace {

using graph::Contraction;
using graph::Loop;
using Stride = std::int64_t Loop::*;

// Below this many multiply-adds the library's call costs more than the work.
constexpr std::int64_t kLibraryFrom = 1 << 15;
// The same where our own product needs no copies.
constexpr std::int64_t kLibraryFromDirect = (1 << 21) + 1;
// Multiply-adds of one thread in a nanosecond, measured on an Intel Xeon with AVX-512 and AMX: guesses elsewhere.
constexpr double kDirectRate = 80, kLoopRate = 10, kByteRate = 80;
double library_rate(DType type) { return type == DType::f32 ? 80 : type == DType::bf16 ? 400 : 800; }

// Into how many parts threads share work of one thread's `ns`.
std::int64_t parts_of(double ns, const kit::LanePool* pool) {
  constexpr double kPartNs = kWorthThreadsNs / 2;
  if (pool == nullptr) { return 1; }
  return static_cast<std::int64_t>(std::clamp(ns / kPartNs, 1.0, static_cast<double>(pool->threads())));
}

std::int64_t round_up(std::int64_t bytes) { return (bytes + 63) & ~std::int64_t{63}; }

struct Sizes {
  std::int64_t batch = 1, m = 1, n = 1, k = 1;

  // False if a copy of an operand could pass what memory can have.
  bool from(const Contraction& c) {
    constexpr std::int64_t kMost = std::int64_t{1} << 46;
    const auto measure = [](const std::vector<Loop>& loops, std::int64_t& out) {
      for (const Loop& loop : loops) {
        if (__builtin_mul_overflow(out, loop.size, &out) || out > kMost) { return false; }
      }
      return true;
    };
    std::int64_t product = 0;
    return measure(c.batch, batch) && measure(c.m, m) && measure(c.n, n) && measure(c.k, k) &&
           !__builtin_mul_overflow(m, k, &product) && product <= kMost && !__builtin_mul_overflow(k, n, &product) &&
           product <= kMost && !__builtin_mul_overflow(m, n, &product) && product <= kMost;
  }

  // Saturates: only compared and used for guesses.
  double multiply_adds() const {
    return static_cast<double>(batch) * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  }
};

// Walks a matrix given by row loops and column loops, beside a dense row-major copy of it: operands 0 and 1.
Loops matrix_loops(const std::vector<Loop>& rows, const std::vector<Loop>& columns, Stride stride) {
  std::vector<std::int64_t> sizes;
  std::vector<std::vector<std::int64_t>> strides(2);
  for (const auto* group : {&rows, &columns}) {
    for (const Loop& loop : *group) {
      sizes.push_back(loop.size);
      strides[0].push_back(loop.*stride);
    }
  }
  strides[1].resize(sizes.size());
  std::int64_t dense = 1;
  for (std::size_t d = sizes.size(); d-- > 0; dense *= sizes[d]) { strides[1][d] = dense; }
  return {sizes, strides};
}

Loops batch_loops(const std::vector<Loop>& batch) {
  std::vector<std::int64_t> sizes;
  std::vector<std::vector<std::int64_t>> strides(3);
  for (const Loop& loop : batch) {
    sizes.push_back(loop.size);
    strides[0].push_back(loop.left);
    strides[1].push_back(loop.right);
    strides[2].push_back(loop.out);
  }
  return {sizes, strides};
}

// Calls body(left, right, out) with the element offsets of each batch.
template <class Body>
void each_batch(const Loops& loops, Body&& body) {
  loops.each_line([&](const auto& at) {
    for (std::int64_t i = 0; i < loops.inner(); ++i) {
      body(at[0] + i * loops.inner_stride(0), at[1] + i * loops.inner_stride(1), at[2] + i * loops.inner_stride(2));
    }
  });
}

// A matrix as it stands: strides of rows and columns, one of them 1.
struct Plain {
  std::int64_t rows = 0, columns = 0;
};

// Sets `out` if the loops are such a matrix as they stand.
bool is_plain(const std::vector<Loop>& rows, const std::vector<Loop>& columns, Stride stride, Plain& out) {
  if (rows.size() > 1 || columns.size() > 1) { return false; }
  const Loop r = rows.empty() ? Loop{} : rows[0];
  const Loop c = columns.empty() ? Loop{} : columns[0];
  // A dimension of size 1 may have any stride: the one that makes the matrix dense.
  out.columns = columns.empty() ? 1 : c.*stride;
  out.rows = rows.empty() ? std::max<std::int64_t>(1, c.size * out.columns) : r.*stride;
  return (out.columns == 1 && out.rows >= c.size) || (out.rows == 1 && out.columns >= r.size);
}

// True if our own product takes the operands and the result where they are. Sets their row strides.
bool is_direct(const Contraction& c, ProductSizes& rows) {
  Plain left, right, out;
  if (!is_plain(c.m, c.k, &Loop::left, left) || left.columns != 1 || !is_plain(c.k, c.n, &Loop::right, right) ||
      right.columns != 1 || !is_plain(c.m, c.n, &Loop::out, out) || out.columns != 1) {
    return false;
  }
  rows.a_row = left.rows;
  rows.b_row = right.rows;
  rows.c_row = out.rows;
  return true;
}

// ---------------------------------------------------------------------------------------------------------- our loops

template <class Held>
class LoopContract final : public Step {
 public:
  LoopContract(const graph::View& view, const graph::FusedStep& step, const Contraction& c, const Sizes& sizes,
               kit::LanePool* pool)
      : LoopContract(view, view.nodes()[step.node], step, c, sizes) {
    constexpr std::int64_t kLeastRows = 8;
    const double ns = sizes.multiply_adds() / static_cast<double>(sizes.batch) / kDirectRate;
    if (direct_) { parts_ = std::min(parts_of(ns, pool), std::max<std::int64_t>(1, sizes.m / kLeastRows)); }
    pool_ = pool;
  }
  LoopContract(const graph::View& view, const graph::Node& node, const graph::FusedStep& step, const Contraction& c,
               const Sizes& sizes)
      : node_(node),
        step_(step),
        in_type_(view.tensor(node.inputs[0]).dtype),
        out_type_(view.tensor(node.output).dtype),
        out_bytes_(view.tensor(node.output).bytes),
        sizes_(sizes),
        batch_(batch_loops(c.batch)),
        left_(matrix_loops(c.m, c.k, &Loop::left)),
        right_(matrix_loops(c.k, c.n, &Loop::right)),
        out_(matrix_loops(c.m, c.n, &Loop::out)),
        rows_{sizes.m, sizes.n, sizes.k, 0, 0, 0},
        direct_(in_type_ == kType && out_type_ == kType && is_direct(c, rows_)) {}

  std::uint64_t scratch_bytes() const override {
    if (direct_) { return 0; }
    return static_cast<std::uint64_t>(left_bytes() + right_bytes() + round_up(sizes_.m * sizes_.n * kHeld));
  }
  double cost_ns() const override {
    return 50 + sizes_.multiply_adds() / (direct_ ? kDirectRate : kLoopRate) / static_cast<double>(parts_);
  }

  Result<void> run(const RunContext& context) const override {
    if (direct_) {
      const auto at = [&](std::size_t k) {
        const graph::Access& access = step_.operands[k];
        return reinterpret_cast<const Held*>(context.tensors[access.tensor]) + access.offset;
      };
      auto* to = reinterpret_cast<Held*>(context.tensors[node_.output]);
      if (batch_.total() == 1) {
        multiply_direct(at(0), at(1), to);
        return {};
      }
      each_batch(batch_, [&](std::int64_t left_at, std::int64_t right_at, std::int64_t out_at) {
        multiply_direct(at(0) + left_at, at(1) + right_at, to + out_at);
      });
      return {};
    }
    if (out_type_ == DType::i4) { std::memset(context.tensors[node_.output], 0, out_bytes_); }
    auto* left = reinterpret_cast<Held*>(context.scratch);
    auto* right = reinterpret_cast<Held*>(context.scratch + left_bytes());
    auto* out = reinterpret_cast<Held*>(context.scratch + left_bytes() + right_bytes());
    each_batch(batch_, [&](std::int64_t left_at, std::int64_t right_at, std::int64_t out_at) {
      const graph::Access &l = step_.operands[0], &r = step_.operands[1];
      unpack(left_, context.tensors[l.tensor], l.offset + left_at, left);
      unpack(right_, context.tensors[r.tensor], r.offset + right_at, right);
      multiply(left, right, out, sizes_.m, sizes_.n, sizes_.k);
      store(out, context.tensors[node_.output], out_at);
    });
    return {};
  }

 private:
  static constexpr std::int64_t kHeld = sizeof(Held);
  // The tensor type that is held as it is stored.
  static constexpr DType kType = std::is_same_v<Held, float>           ? DType::f32
                                 : std::is_same_v<Held, double>        ? DType::f64
                                 : std::is_same_v<Held, std::uint32_t> ? DType::i32
                                                                       : DType::i64;
  std::int64_t left_bytes() const { return round_up(sizes_.m * sizes_.k * kHeld); }
  std::int64_t right_bytes() const { return round_up(sizes_.k * sizes_.n * kHeld); }

  // Threads take rows of the result.
  void multiply_direct(const Held* left, const Held* right, Held* out) const {
    if (parts_ == 1) { return multiply(left, right, out, rows_); }
    pool_->parallel(static_cast<std::uint64_t>(parts_), [&](std::uint64_t i) {
      const auto part = static_cast<std::int64_t>(i);
      const std::int64_t first = rows_.m * part / parts_, end = rows_.m * (part + 1) / parts_;
      ProductSizes own = rows_;
      own.m = end - first;
      multiply(left + first * rows_.a_row, right, out + first * rows_.c_row, own);
    });
  }

  void unpack(const Loops& loops, const std::byte* data, std::int64_t offset, Held* out) const {
    loops.each_line([&](const auto& at) {
      const auto count = static_cast<std::size_t>(loops.inner());
      load_line(in_type_, data, offset + at[0], loops.inner_stride(0), count, lines(out + at[1]));
    });
  }

  void store(const Held* from, std::byte* data, std::int64_t offset) const {
    out_.each_line([&](const auto& at) {
      const std::int64_t first = offset + at[0];
      const Held* line = from + at[1];
      // Half bytes can only be stored as lines where no other line shares their bytes.
      if (out_.inner_stride(0) == 1 && out_type_ != DType::i4) {
        store_line(out_type_, data, first, static_cast<std::size_t>(out_.inner()), lines(line));
        return;
      }
      for (std::int64_t i = 0; i < out_.inner(); ++i) { store_one(data, first + i * out_.inner_stride(0), line[i]); }
    });
  }

  void store_one(std::byte* data, std::int64_t at, Held value) const {
    if constexpr (std::is_floating_point_v<Held>) {
      graph::store_element(out_type_, data, at, static_cast<double>(value));
    } else {
      graph::store_wrapped(out_type_, data, at, static_cast<std::int64_t>(value));
    }
  }

  // Integers are multiplied as unsigned, which wraps, and moved as signed.
  static auto lines(auto* at) {
    if constexpr (std::is_floating_point_v<Held>) {
      return at;
    } else {
      using Signed = std::make_signed_t<Held>;
      return reinterpret_cast<
          std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(at)>>, const Signed, Signed>*>(at);
    }
  }

  const graph::Node& node_;
  const graph::FusedStep& step_;
  DType in_type_, out_type_;
  std::uint64_t out_bytes_;
  Sizes sizes_;
  Loops batch_, left_, right_, out_;
  ProductSizes rows_;
  bool direct_;
  std::int64_t parts_ = 1;  // of a product: rows that a thread takes
  kit::LanePool* pool_ = nullptr;
};

// ----------------------------------------------------------------------------------------------------- plain products

std::int32_t library_type(DType type) {
  switch (type) {
    case DType::f32:
      return HALYARD_ONEDNN_F32;
    case DType::bf16:
      return HALYARD_ONEDNN_BF16;
    case DType::i8:
      return HALYARD_ONEDNN_S8;
    default:
      return HALYARD_ONEDNN_S32;
  }
}

std::int64_t element_bytes(std::int32_t type) {
  return type == HALYARD_ONEDNN_S8 ? 1 : type == HALYARD_ONEDNN_BF16 ? 2 : 4;
}

// True where the library's sums of 8-bit products are exact. Without these instructions it adds pairs of products in 16
// bits, which saturate (oneDNN's guide, "Nuances of int8 computations").
bool sums_bytes_exactly() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni") != 0;
#else
  return false;
#endif
}

// A product of matrices that are plain: of each of left, right and out rows or columns are dense, of out columns.
class PlainProduct {
 public:
  PlainProduct() = default;
  PlainProduct(const PlainProduct&) = delete;
  PlainProduct& operator=(const PlainProduct&) = delete;
  virtual ~PlainProduct() = default;
  virtual bool multiply(const std::byte* left, const std::byte* right, std::byte* out, std::byte* scratch) const = 0;
  virtual std::uint64_t scratch_bytes() const = 0;
  virtual std::int64_t parts() const = 0;  // that threads share
};

class LibraryProduct final : public PlainProduct {
 public:
  // nullptr if the library cannot do it.
  static std::unique_ptr<PlainProduct> make(const halyard_matmul& whole, std::int64_t parts, kit::LanePool* pool) {
    if (onednn() == nullptr) { return nullptr; }
    auto made = std::make_unique<LibraryProduct>(pool);
    if (!made->make_parts(whole, parts)) { return nullptr; }
    return made;
  }
  explicit LibraryProduct(kit::LanePool* pool) : pool_(pool) {}
  ~LibraryProduct() override {
    for (const Part& part : parts_) { library_->destroy(part.product); }
  }
  bool multiply(const std::byte* left, const std::byte* right, std::byte* out, std::byte* scratch) const override {
    std::atomic<bool> failed{false};
    const auto work = [&](std::uint64_t i) {
      const Part& part = parts_[i];
      const int status =
          library_->run(part.product, left + part.left, right + part.right, out + part.out, scratch + part.scratch);
      if (status != 0) { failed.store(true, std::memory_order_relaxed); }
    };
    if (parts_.size() > 1) {
      pool_->parallel(parts_.size(), work);
    } else {
      work(0);
    }
    return !failed.load(std::memory_order_relaxed);
  }
  std::uint64_t scratch_bytes() const override { return scratch_; }
  std::int64_t parts() const override { return static_cast<std::int64_t>(parts_.size()); }

 private:
  // What one thread does of a product: some of its batches, rows or columns.
  struct Part {
    void* product;
    std::int64_t left, right, out;  // where it begins, in bytes
    std::uint64_t scratch;          // the same in the library's memory
  };

  // False if the library cannot do it.
  bool make_parts(const halyard_matmul& whole, std::int64_t most) {
    // By batches, else by rows, if there are enough: with fewer columns than the right operand's rows have the library
    // takes another way, which is slow for bytes and bf16, and a tenth faster for large f32 (oneDNN 2.6 on a Xeon with
    // AMX).
    struct Cut {
      std::int64_t halyard_matmul::* size;
      std::int64_t left, right, out;  // from one index of that dimension to the next, in elements
      std::int64_t parts;             // that are worth it
    };
    const std::int64_t large = whole.in_type == HALYARD_ONEDNN_F32 ? whole.n / 512 : 0;
    const Cut cuts[] = {{&halyard_matmul::batch, whole.left[0], whole.right[0], whole.out[0], whole.batch},
                        {&halyard_matmul::n, 0, whole.right[2], whole.out[2], large},
                        {&halyard_matmul::m, whole.left[1], 0, whole.out[1], whole.m / 16},
                        {&halyard_matmul::n, 0, whole.right[2], whole.out[2], whole.n / 64}};
    const Cut* cut = std::ranges::find_if(cuts, [&](const Cut& one) { return one.parts >= most; });
    if (cut == std::end(cuts)) { cut = std::ranges::max_element(cuts, {}, &Cut::parts); }
    const std::int64_t parts = std::clamp<std::int64_t>(cut->parts, 1, most);
    const std::int64_t in_size = element_bytes(whole.in_type), out_size = element_bytes(whole.out_type);
    for (std::int64_t i = 0; i < parts; ++i) {
      const std::int64_t first = whole.*(cut->size) * i / parts, end = whole.*(cut->size) * (i + 1) / parts;
      halyard_matmul part = whole;
      part.*(cut->size) = end - first;
      std::uint64_t bytes = 0;
      char why[256];
      void* product = library_->create(&part, &bytes, why, sizeof(why));
      if (product == nullptr) { return false; }
      parts_.push_back(
          {product, first * cut->left * in_size, first * cut->right * in_size, first * cut->out * out_size, scratch_});
      // The library keeps its own copies of operands on pages of their own; elsewhere its f32 products were 2 % slower.
      scratch_ += Scratch::up_to_page(bytes);
    }
    return true;
  }

  const halyard_onednn* const library_ = onednn();
  kit::LanePool* const pool_;
  std::vector<Part> parts_;
  std::uint64_t scratch_ = 0;  // of all parts
};

// Bytes, exactly, on processors on which the library's sums are not.
class ByteProduct final : public PlainProduct {
 public:
  static std::unique_ptr<PlainProduct> make(const halyard_matmul& whole, std::int64_t parts, kit::LanePool* pool) {
    if (!has_byte_product()) { return nullptr; }
    return std::make_unique<ByteProduct>(whole, parts, pool);
  }
  ByteProduct(const halyard_matmul& whole, std::int64_t parts, kit::LanePool* pool)
      : whole_(whole), sizes_{whole.m, whole.n, whole.k}, parts_(std::min(parts, sizes_.m)), pool_(pool) {}

  bool multiply(const std::byte* left, const std::byte* right, std::byte* out, std::byte* scratch) const override {
    auto* const rows = reinterpret_cast<std::int16_t*>(scratch);
    auto* const columns = reinterpret_cast<std::int16_t*>(scratch + round_up(sizes_.left_bytes()));
    for (std::int64_t i = 0; i < whole_.batch; ++i) {
      const auto* const a = reinterpret_cast<const std::int8_t*>(left) + i * whole_.left[0];
      const auto* const b = reinterpret_cast<const std::int8_t*>(right) + i * whole_.right[0];
      auto* const c = reinterpret_cast<std::int32_t*>(out) + i * whole_.out[0];
      share([&](std::int64_t part) {
        pack_left(a, {whole_.left[1], whole_.left[2]}, sizes_, begin(sizes_.m, part), begin(sizes_.m, part + 1), rows);
        pack_right(b, {whole_.right[1], whole_.right[2]}, sizes_, begin(sizes_.panels(), part),
                   begin(sizes_.panels(), part + 1), columns);
      });
      share([&](std::int64_t part) {
        multiply_bytes(rows, columns, c, whole_.out[1], sizes_, begin(sizes_.m, part), begin(sizes_.m, part + 1));
      });
    }
    return true;
  }
  std::uint64_t scratch_bytes() const override {
    return static_cast<std::uint64_t>(round_up(sizes_.left_bytes()) + round_up(sizes_.right_bytes()));
  }
  std::int64_t parts() const override { return parts_; }

 private:
  std::int64_t begin(std::int64_t size, std::int64_t part) const { return size * part / parts_; }
  template <class Work>
  void share(const Work& work) const {
    if (parts_ == 1) { return work(0); }
    pool_->parallel(static_cast<std::uint64_t>(parts_), [&](std::uint64_t i) { work(static_cast<std::int64_t>(i)); });
  }

  const halyard_matmul whole_;
  const ByteSizes sizes_;
  const std::int64_t parts_;
  kit::LanePool* const pool_;
};

// Whatever the strides are: operands and result that are not plain are copied. So are those that are wanted wider.
class PlainContract final : public Step {
 public:
  using MakeProduct = std::unique_ptr<PlainProduct> (*)(const halyard_matmul& whole, std::int64_t parts,
                                                        kit::LanePool* pool);
  // What the product multiplies and gives: the tensors' own types, or f32 for floating ones that it does not know.
  struct Held {
    DType in, out;
  };
  // nullptr if there is no such product. `rate`: multiply-adds of one thread in a nanosecond.
  static std::unique_ptr<Step> make(const graph::View& view, const graph::FusedStep& fused, Contraction c, Sizes sizes,
                                    kit::LanePool* pool, MakeProduct make_product, Held held, double rate) {
    const graph::Node& node = view.nodes()[fused.node];
    auto step = std::make_unique<PlainContract>(view, node, fused, held);
    // The product wants dense columns in its result. If rows are dense instead, the transposed product has them.
    Plain out;
    bool out_plain = is_plain(c.m, c.n, &Loop::out, out);
    step->swapped_ = out_plain && out.columns != 1;
    if (step->swapped_) {
      std::swap(c.m, c.n);
      std::swap(sizes.m, sizes.n);
      for (auto* group : {&c.batch, &c.m, &c.n, &c.k}) {
        for (Loop& loop : *group) { std::swap(loop.left, loop.right); }
      }
      out_plain = is_plain(c.m, c.n, &Loop::out, out);
    }
    Plain left, right;
    step->pack_left_ = !is_plain(c.m, c.k, &Loop::left, left) || step->widens();
    step->pack_right_ = !is_plain(c.k, c.n, &Loop::right, right) || step->widens();
    step->pack_out_ = !out_plain || out.columns != 1 || step->narrows();
    if (step->pack_left_) { left = {sizes.k, 1}; }
    if (step->pack_right_) { right = {sizes.n, 1}; }
    if (step->pack_out_) { out = {sizes.n, 1}; }

    const bool packs = step->pack_left_ || step->pack_right_ || step->pack_out_;
    step->one_call_ = !packs && c.batch.size() <= 1;
    halyard_matmul shape{};
    shape.in_type = library_type(held.in);
    shape.out_type = library_type(held.out);
    shape.batch = step->one_call_ ? sizes.batch : 1;
    shape.m = sizes.m;
    shape.n = sizes.n;
    shape.k = sizes.k;
    const Loop batch = c.batch.empty() ? Loop{} : c.batch[0];
    const auto set = [](std::int64_t(&to)[3], std::int64_t of_batch, const Plain& plain) {
      to[0] = of_batch;
      to[1] = plain.rows;
      to[2] = plain.columns;
    };
    set(shape.left, batch.left, left);
    set(shape.right, batch.right, right);
    set(shape.out, batch.out, out);
    const double ns = sizes.multiply_adds() / static_cast<double>(step->one_call_ ? 1 : sizes.batch) / rate;
    step->product_ = make_product(shape, parts_of(ns, pool), pool);
    if (step->product_ == nullptr) { return nullptr; }
    step->cost_ns_ = 500 + ns / static_cast<double>(step->product_->parts()) *
                               static_cast<double>(step->one_call_ ? 1 : sizes.batch);

    step->sizes_ = sizes;
    step->batch_ = batch_loops(c.batch);
    step->left_ = matrix_loops(c.m, c.k, &Loop::left);
    step->right_ = matrix_loops(c.k, c.n, &Loop::right);
    step->out_ = matrix_loops(c.m, c.n, &Loop::out);
    return step;
  }

  PlainContract(const graph::View& view, const graph::Node& node, const graph::FusedStep& step, Held held)
      : node_(node),
        step_(step),
        in_type_(view.tensor(node.inputs[0]).dtype),
        out_type_(view.tensor(node.output).dtype),
        held_(held),
        in_size_(static_cast<std::int64_t>(size_of(in_type_))),
        out_size_(static_cast<std::int64_t>(size_of(out_type_))),
        held_in_size_(static_cast<std::int64_t>(size_of(held.in))),
        held_out_size_(static_cast<std::int64_t>(size_of(held.out))) {}

  std::uint64_t scratch_bytes() const override {
    return product_->scratch_bytes() + static_cast<std::uint64_t>(left_bytes() + right_bytes() +
                                                                  (pack_out_ ? sizes_.m * sizes_.n * held_out_size_ : 0));
  }
  double cost_ns() const override { return cost_ns_; }

  Result<void> run(const RunContext& context) const override {
    std::byte* const left_copy = context.scratch + product_->scratch_bytes();
    std::byte* const right_copy = left_copy + left_bytes();
    std::byte* const out_copy = right_copy + right_bytes();
    const auto operand = [&](std::size_t k) {
      const graph::Access& access = step_.operands[k];
      return context.tensors[access.tensor] + access.offset * in_size_;
    };
    const std::byte* const left = operand(swapped_ ? 1 : 0);
    const std::byte* const right = operand(swapped_ ? 0 : 1);
    std::byte* const out = context.tensors[node_.output];
    bool done = true;
    if (one_call_) {
      done = product_->multiply(left, right, out, context.scratch);
    } else {
      each_batch(batch_, [&](std::int64_t left_at, std::int64_t right_at, std::int64_t out_at) {
        if (!done) { return; }
        const std::byte* a = left + left_at * in_size_;
        const std::byte* b = right + right_at * in_size_;
        std::byte* c = out + out_at * out_size_;
        if (pack_left_) { a = pack(left_, a, left_copy); }
        if (pack_right_) { b = pack(right_, b, right_copy); }
        done = product_->multiply(a, b, pack_out_ ? out_copy : c, context.scratch);
        if (pack_out_) { unpack(out_copy, c); }
      });
    }
    if (!done) { return kit::error(kOrigin, HAL_EXECUTION_FAILED, "oneDNN failed a matrix product"); }
    return {};
  }

 private:
  bool widens() const { return held_.in != in_type_; }
  bool narrows() const { return held_.out != out_type_; }
  std::int64_t left_bytes() const { return pack_left_ ? round_up(sizes_.m * sizes_.k * held_in_size_) : 0; }
  std::int64_t right_bytes() const { return pack_right_ ? round_up(sizes_.k * sizes_.n * held_in_size_) : 0; }

  const std::byte* pack(const Loops& loops, const std::byte* from, std::byte* to) const {
    loops.each_line([&](const auto& at) {
      const auto count = static_cast<std::size_t>(loops.inner());
      std::byte* const line = to + at[1] * held_in_size_;
      if (widens()) {
        load_line(in_type_, from, at[0], loops.inner_stride(0), count, reinterpret_cast<float*>(line));
      } else {
        move_line(static_cast<std::size_t>(in_size_), from + at[0] * in_size_, loops.inner_stride(0), line,
                  loops.inner_stride(1), count);
      }
    });
    return to;
  }

  void unpack(const std::byte* from, std::byte* to) const {
    out_.each_line([&](const auto& at) {
      const std::byte* const line = from + at[1] * held_out_size_;
      const std::int64_t count = out_.inner(), stride = out_.inner_stride(0);
      if (!narrows()) {
        move_line(static_cast<std::size_t>(out_size_), line, out_.inner_stride(1), to + at[0] * out_size_, stride,
                  static_cast<std::size_t>(count));
      } else if (const auto* values = reinterpret_cast<const float*>(line); stride == 1) {
        store_line(out_type_, to, at[0], static_cast<std::size_t>(count), values);
      } else {
        for (std::int64_t i = 0; i < count; ++i) { store_line(out_type_, to, at[0] + i * stride, 1, values + i); }
      }
    });
  }

  const graph::Node& node_;
  const graph::FusedStep& step_;
  const DType in_type_, out_type_;
  const Held held_;
  const std::int64_t in_size_, out_size_, held_in_size_, held_out_size_;
  std::unique_ptr<PlainProduct> product_;
  double cost_ns_ = 0;
  bool swapped_ = false, pack_left_ = false, pack_right_ = false, pack_out_ = false, one_call_ = false;
  Sizes sizes_;
  Loops batch_ = batch_loops({});
  Loops left_ = batch_, right_ = batch_, out_ = batch_;
};

}  // namespace

StepResult make_contract(const graph::View& view, const graph::FusedStep& step, kit::LanePool* pool) {
  const graph::Node& node = view.nodes()[step.node];
  const Contraction c = classify_contraction(view, node, step.operands[0].strides, step.operands[1].strides);
  Sizes sizes;
  if (!sizes.from(c)) {
    return kit::error(kOrigin, HAL_UNSUPPORTED,
                      fmt::format("{} has operands of more than 2^46 elements", view.node_label(step.node)));
  }
  const DType in = view.tensor(node.inputs[0]).dtype, out = view.tensor(node.output).dtype;
  const bool worth = sizes.multiply_adds() >= kLibraryFrom;
  switch (node.as<graph::ContractAttributes>().accumulate) {
    case DType::i32:
      if (worth && in == DType::i8 && out == DType::i32) {
        const bool exact = sums_bytes_exactly();
        if (auto product =
                PlainContract::make(view, step, c, sizes, pool, exact ? LibraryProduct::make : ByteProduct::make,
                                    {in, out}, exact ? library_rate(in) : kByteRate)) {
          return StepResult(std::move(product));
        }
      }
      return StepResult(std::make_unique<LoopContract<std::uint32_t>>(view, step, c, sizes, pool));
    case DType::i64:
      return StepResult(std::make_unique<LoopContract<std::uint64_t>>(view, step, c, sizes, pool));
    case DType::f64:
      return StepResult(std::make_unique<LoopContract<double>>(view, step, c, sizes, pool));
    default:
      break;
  }
  const auto known = [](DType type) { return type == DType::f32 || type == DType::bf16; };
  ProductSizes rows{};
  const bool ours =
      in == DType::f32 && out == DType::f32 && sizes.multiply_adds() < kLibraryFromDirect && is_direct(c, rows);
  const auto library = [&](PlainContract::Held held) {
    return PlainContract::make(view, step, c, sizes, pool, LibraryProduct::make, held, library_rate(held.in));
  };
  if (known(in) && known(out) && worth && !ours) {
    if (auto product = library({in, out})) { return StepResult(std::move(product)); }
  }
  // Widened operands have exact products in f32, and each batch is a call of its own.
  const bool widened = in != DType::f32 || out != DType::f32;
  if (widened && sizes.multiply_adds() / static_cast<double>(sizes.batch) >= kLibraryFrom) {
    if (auto product = library({DType::f32, DType::f32})) { return StepResult(std::move(product)); }
  }
  return StepResult(std::make_unique<LoopContract<float>>(view, step, c, sizes, pool));
}

}  // namespace hal::host
