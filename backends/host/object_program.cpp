// SPDX-License-Identifier: Apache-2.0
// Kernels compiled by the user's compiler: the image format "host.so".
#include <fmt/format.h>

#include <cstring>
#include <vector>

#include "driver_kit/errors.hpp"
#include "hal/host_kernel.h"
#include "host.hpp"
#include "program.hpp"
#include "shared_object.hpp"

namespace hal::host {

namespace {

constexpr const char* kAbi = "hal_host_image_abi";
constexpr const char* kPrefix = "hal_kernel_";

// Functions of a loaded object. The object goes last: its code must be there as long as somebody may call it.
class ObjectProgram final : public Program {
 public:
  ObjectProgram(LoadedObject object, std::unique_ptr<Program> functions)
      : object_(std::move(object)), functions_(std::move(functions)) {
    one_group = functions_->one_group;
  }

  Captured capture_one_group(const hal_command& command, void* room) const noexcept override {
    return functions_->capture_one_group(command, room);
  }
  hal_error* run(const hal_command& command, Scratch& scratch, const kit::Perturb& perturb) override {
    return functions_->run(command, scratch, perturb);
  }
  Result<void> prepare(const hal_command& command, Scratch& scratch) override {
    return functions_->prepare(command, scratch);
  }
  kit::CommandCost cost(const hal_command& command) const override { return functions_->cost(command); }

 private:
  LoadedObject object_;
  std::unique_ptr<Program> functions_;
};

Result<SharedObject> read_and_check(std::span<const std::byte> image) {
  HAL_TRY(SharedObject object, SharedObject::read(image));
  const auto abi = object.constant(kAbi);
  if (!abi) {
    return kit::error(kOrigin, HAL_INVALID_IMAGE,
                      fmt::format("the host.so image exports no constant {}: write HAL_HOST_IMAGE() once in its "
                                  "sources, outside every function (hal/host_kernel.h)",
                                  kAbi));
  }
  if (*abi != HAL_HOST_IMAGE_ABI) {
    return kit::error(kOrigin, HAL_INCOMPATIBLE,
                      fmt::format("the host.so image was made for version {} of hal/host_kernel.h, this driver runs "
                                  "version {}; compile it again",
                                  *abi, HAL_HOST_IMAGE_ABI));
  }
  return object;
}

}  // namespace

Result<void> check_object(std::span<const std::byte> image) {
  HAL_TRY([[maybe_unused]] const SharedObject object, read_and_check(image));
  return {};
}

Result<std::unique_ptr<Program>> load_object(std::span<const std::byte> image,
                                             std::span<const hal_signature> signatures,
                                             std::span<const hal_constant> constants) {
  HAL_TRY(const SharedObject object, read_and_check(image));
  HAL_CHECK(check_kernels(signatures));
  // All names are looked up in the bytes first: code of an image that does not fit never runs.
  for (const hal_signature& signature : signatures) {
    if (object.has_function(std::string(kPrefix) + signature.name)) { continue; }
    return kit::error(kOrigin, HAL_INVALID_IMAGE,
                      fmt::format("the manifest has an entry '{0}' and the host.so image no HAL_HOST_KERNEL({0}); it "
                                  "has: {1}",
                                  signature.name, object.functions(kPrefix)));
  }
  HAL_TRY(LoadedObject loaded, LoadedObject::load(image));
  std::vector<hal_host_entry> entries;
  for (const hal_signature& signature : signatures) {
    const auto function = reinterpret_cast<hal_host_kernel>(loaded.symbol(std::string(kPrefix) + signature.name));
    if (function == nullptr) {
      return kit::error(
          kOrigin, HAL_INVALID_IMAGE,
          fmt::format("the system's loader does not find {}{} in the host.so image", kPrefix, signature.name));
    }
    entries.push_back({signature.name, function});
  }
  const hal_host_functions table = HAL_HOST_FUNCTIONS(entries.data(), entries.size());
  HAL_TRY(auto functions, load_functions(std::as_bytes(std::span(&table, 1)), signatures, constants));
  return std::unique_ptr<Program>(std::make_unique<ObjectProgram>(std::move(loaded), std::move(functions)));
}

}  // namespace hal::host
