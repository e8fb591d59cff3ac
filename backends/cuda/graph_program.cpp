// SPDX-License-Identifier: Apache-2.0
// A tensor graph as lanes run it: constants on the device, launches for each set of sizes.
#include "graph_program.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "driver_kit/apart.hpp"
#include "driver_kit/errors.hpp"
#include "driver_kit/slices.hpp"
#include "graph/fuse.hpp"
#include "graph/image_copy.hpp"
#include "graph/instances.hpp"
#include "graph/plan.hpp"
#include "graph/view.hpp"
#include "graph_kernels_loader.hpp"
#include "graph_steps.hpp"
#include "lane.hpp"

namespace hal::cuda {

namespace {

using graph::Role;

std::uint64_t padded(std::uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// A graph whose sizes are all known: immutable once made, run by several lanes at once.
struct ClosedGraph {
  std::vector<Step> steps;
  graph::Plan plan;  // of the intermediates, in the lane's arena
  // One expression over elements that are read where the result goes: only then may an output be the very bytes of an
  // input. Anything else would read what another thread has written already.
  bool in_place = false;

  static Result<std::shared_ptr<const ClosedGraph>> make(const graph::View& view, GraphKernels& kernels) {
    HAL_CHECK(check_tensors(view));
    auto made = std::make_shared<ClosedGraph>();
    const auto fused = graph::fuse(view, fuse_options());
    HAL_TRY(made->plan, graph::plan_memory(view, fused, {.alignment = kAlignment, .in_place = true}));
    HAL_TRY(made->steps, make_steps(view, fused));
    made->in_place = fused.size() == 1 && fused[0].op == graph::Op::map &&
                     std::ranges::all_of(fused[0].inputs, [&](const graph::Access& access) {
                       return graph::is_dense(access, fused[0].domain);
                     });
    const auto is_wide = [](const Step& step) { return step.kernel >= kFirstWide; };
    if (std::ranges::any_of(made->steps, is_wide)) { HAL_CHECK(kernels.need_wide()); }
    return std::shared_ptr<const ClosedGraph>(std::move(made));
  }
};

class GraphProgram final : public Program {
 public:
  // `view` is of the image's bytes.
  GraphProgram(Device& device, GraphKernels& kernels, graph::ImageCopy image, graph::View view)
      : device_(device), kernels_(kernels), image_(std::move(image)), instances_(std::move(view)) {}
  ~GraphProgram() override {
    device_.enter();
    if (constants_ != 0) { device_.api().MemFree(constants_); }
  }

  Result<void> load() {
    HAL_CHECK(check_tensors(view()));
    if (!view().is_dynamic()) { HAL_TRY(fixed_, ClosedGraph::make(view(), kernels_)); }
    can_fail_ = can_fail(view());
    std::uint64_t bytes = 0;
    for (const graph::Tensor& tensor : view().tensors()) {
      constant_offsets_.push_back(bytes);
      if (tensor.role == Role::constant) { bytes += padded(tensor.bytes); }
    }
    return bytes == 0 ? Result<void>() : upload(bytes);
  }

  Result<bool> enqueue(Lane& lane, std::uint64_t number, const hal_command& command) override {
    std::shared_ptr<const ClosedGraph> instance;
    const ClosedGraph* closed = fixed_.get();
    if (closed == nullptr) {
      const graph::GivenExtents extents(command, view());
      instance = instances_.find(extents.span());
      closed = instance.get();
    }
    if (closed == nullptr || !lane.has_arena(closed->plan.arena_bytes)) { return false; }
    HAL_CHECK(run(*closed, lane, number, command));
    return true;
  }

  // Constants are there since the load. Steps, where sizes come with a run, and room for intermediates, which belongs
  // to the lane, are made here.
  Result<void> obtain(Lane& lane, const hal_command& command) override {
    std::shared_ptr<const ClosedGraph> closed = fixed_;
    if (closed == nullptr) {
      const graph::GivenExtents extents(command, view());
      // Prepared without sizes: there is nothing yet to make. A run without any fails below.
      if (command.op == HAL_OP_PREPARE && extents.span().empty()) { return {}; }
      HAL_TRY(closed, instances_.obtain(extents.span(), [this](const graph::View& bound) {
        return ClosedGraph::make(bound, kernels_);
      }));
    }
    return lane.grow_arena(closed->plan.arena_bytes);
  }

  bool may_fail() const override { return can_fail_; }

 private:
  const graph::View& view() const { return instances_.view(); }

  Result<void> run(const ClosedGraph& closed, Lane& lane, std::uint64_t number, const hal_command& command) {
    const std::span<const graph::Tensor> tensors = view().tensors();
    std::vector<CUdeviceptr> addresses(tensors.size());
    for (std::size_t t = 0; t < addresses.size(); ++t) {
      if (t < view().parameter_count()) {
        HAL_TRY(addresses[t], address_of(t, command.as.run.args[t].value.slice));
      } else if (tensors[t].role == Role::constant) {
        addresses[t] = constants_ + constant_offsets_[t];
      } else if (closed.plan.offsets[t] != graph::kNotInArena) {
        addresses[t] = lane.arena() + closed.plan.offsets[t];
      }
    }
    const std::span args(command.as.run.args, view().parameter_count());
    if (const auto shared = kit::find_shared_bytes(args, view().inputs().size(), closed.in_place)) {
      return kit::error(kOrigin, HAL_INVALID_ARGUMENT, shared->text().data());
    }
    for (const Step& step : closed.steps) {
      // Calls on one lane are serialised, but other lanes may run the same program: work on a copy.
      alignas(16) std::byte parameters[4096];
      std::memcpy(parameters, step.parameters.data(), step.parameters.size());
      for (const Step::Slot& s : step.slots) {
        const CUdeviceptr at = addresses[s.tensor] + static_cast<CUdeviceptr>(s.add);
        std::memcpy(parameters + s.offset, &at, sizeof(at));
      }
      if (step.command_offset != 0) {
        const CUdeviceptr fault = lane.fault_word();
        std::memcpy(parameters + step.fault_offset, &fault, sizeof(fault));
        std::memcpy(parameters + step.command_offset, &number, sizeof(number));
      }
      void* list[] = {parameters};
      HAL_CHECK(lane.launch(kernels_.kernel(step.kernel), step.grid, {GraphKernels::kBlock, 1, 1}, 0, list));
    }
    return {};
  }

  Result<CUdeviceptr> address_of(std::size_t argument, const hal_slice& slice) const {
    const CUdeviceptr at = kit::device_address(slice);
    if (at == 0) {
      return kit::error(kOrigin, HAL_UNSUPPORTED,
                        fmt::format("argument {} is host memory; graphs reach device buffers only", argument));
    }
    const std::uint64_t bytes = size_of(view().tensor(argument).dtype);
    if (at % bytes != 0) {
      return kit::error(kOrigin, HAL_INVALID_ARGUMENT,
                        fmt::format("argument {} begins at device address {:#x}, which is not a multiple of its "
                                    "element's {} bytes",
                                    argument, at, bytes));
    }
    return at;
  }

  Result<void> upload(std::uint64_t bytes) {
    const Api& api = device_.api();
    device_.enter();
    const CUresult made = api.MemAlloc(&constants_, bytes);
    if (made != CUDA_SUCCESS) { return fail(api, made, fmt::format("{} bytes for the graph's constants", bytes)); }
    StreamOwner own{api};
    HAL_CHECK(check(api, api.StreamCreate(&own.stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate failed"));
    Result<void> result;
    for (std::size_t t = 0; t < view().tensors().size() && result; ++t) {
      const graph::Tensor& tensor = view().tensor(t);
      if (tensor.role != Role::constant) { continue; }
      result = check(
          api, api.MemcpyHtoDAsync(constants_ + constant_offsets_[t], tensor.data.data(), tensor.bytes, own.stream),
          "cuMemcpyHtoDAsync of a constant failed");
    }
    if (result) {
      result = check(api, api.StreamSynchronize(own.stream), "the upload of the graph's constants failed");
    }
    return result;
  }

  Device& device_;
  GraphKernels& kernels_;
  graph::ImageCopy image_;
  std::shared_ptr<const ClosedGraph> fixed_;  // null if sizes come with the runs
  graph::Instances<ClosedGraph> instances_;   // of a graph whose sizes do
  bool can_fail_ = false;
  std::vector<std::uint64_t> constant_offsets_;  // by tensor
  CUdeviceptr constants_ = 0;
};

}  // namespace

Result<void> check_graph(std::span<const std::byte> image) {
  HAL_TRY(const graph::View view, graph::View::verify_dynamic(image));
  HAL_CHECK(check_tensors(view));
  if (view.is_dynamic()) { return {}; }  // what sizes decide is seen when they come
  HAL_TRY([[maybe_unused]] const auto steps, make_steps(view, graph::fuse(view, fuse_options())));
  return {};
}

Result<std::unique_ptr<Program>> load_graph(Device& device, std::span<const std::byte> image) {
  graph::ImageCopy copy(image);
  HAL_TRY(graph::View view, graph::View::verify_dynamic(copy.bytes()));
  device.enter();
  HAL_TRY(GraphKernels * kernels, device.graph_kernels());
  auto program = std::make_unique<GraphProgram>(device, *kernels, std::move(copy), std::move(view));
  HAL_CHECK(program->load());
  return std::unique_ptr<Program>(std::move(program));
}

}  // namespace hal::cuda
