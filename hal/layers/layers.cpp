// SPDX-License-Identifier: Apache-2.0
#include "layers/layers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "core/settings.hpp"

namespace hal::core {
namespace {

// Tells several observers, in the order in which they were asked for.
class Fanout final : public Observer {
 public:
  explicit Fanout(std::vector<Observer*> observers) : observers_(std::move(observers)) {}

  void made(const hal_object& object, const Made& how) override {
    each([&](Observer& one) { one.made(object, how); });
  }
  void labelled(const hal_object& object, const char* label) override {
    each([&](Observer& one) { one.labelled(object, label); });
  }
  void gone(const hal_object& object) override {
    each([&](Observer& one) { one.gone(object); });
  }
  bool wants_graves() const override {
    return std::any_of(observers_.begin(), observers_.end(), [](const Observer* one) { return one->wants_graves(); });
  }
  hal_error* disturbed(const hal_object& grave) override {
    return first_error([&](Observer& one) { return one.disturbed(grave); });
  }
  void mapped(const hal_buffer& range, std::uint64_t offset, const hal_physical& physical, std::uint64_t from,
              std::uint64_t bytes) override {
    each([&](Observer& one) { one.mapped(range, offset, physical, from, bytes); });
  }
  void unmapped(const hal_buffer& range, std::uint64_t offset, std::uint64_t bytes) override {
    each([&](Observer& one) { one.unmapped(range, offset, bytes); });
  }
  void shared(const hal_physical& physical, int fd) override {
    each([&](Observer& one) { one.shared(physical, fd); });
  }
  hal_error* submitting(Queue& queue, std::span<const hal_command> commands, const hal_sync& sync) override {
    return first_error([&](Observer& one) { return one.submitting(queue, commands, sync); });
  }
  void refused(Queue& queue, std::span<const hal_command> commands, const hal_error* error) override {
    each([&](Observer& one) { one.refused(queue, commands, error); });
  }
  void accepted(Timeline& lane, std::uint64_t number, std::span<const hal_command> commands, const hal_sync& sync,
                bool staged) override {
    each([&](Observer& one) { one.accepted(lane, number, commands, sync, staged); });
  }
  void submitted() override {
    each([](Observer& one) { one.submitted(); });
  }
  void claimed(Timeline& lane, std::uint64_t number, const hal_buffer& buffer, bool freed) override {
    each([&](Observer& one) { one.claimed(lane, number, buffer, freed); });
  }
  void promised(Timeline& lane, std::uint64_t number, std::span<const hal_point> signals) override {
    each([&](Observer& one) { one.promised(lane, number, signals); });
  }
  void calling(Timeline& lane, std::uint64_t number) override {
    each([&](Observer& one) { one.calling(lane, number); });
  }
  void called(Timeline& lane, std::uint64_t number) override {
    each([&](Observer& one) { one.called(lane, number); });
  }
  void signalled(Timeline& timeline, std::uint64_t value) override {
    each([&](Observer& one) { one.signalled(timeline, value); });
  }
  void observed(Timeline& timeline, std::uint64_t value) override {
    each([&](Observer& one) { one.observed(timeline, value); });
  }
  void read(Timeline& timeline, std::uint64_t value) override {
    each([&](Observer& one) { one.read(timeline, value); });
  }
  hal_error* waiting(std::span<const hal_point> points, hal_wait_mode mode) override {
    return first_error([&](Observer& one) { return one.waiting(points, mode); });
  }
  void abandoned(Timeline& timeline) override {
    each([&](Observer& one) { one.abandoned(timeline); });
  }
  void ranged(const char* label) noexcept override {
    each([&](Observer& one) { one.ranged(label); });
  }
  void completed(Timeline& lane, std::uint64_t number) override {
    each([&](Observer& one) { one.completed(lane, number); });
  }
  bool wants_completions() const override {
    return std::any_of(observers_.begin(), observers_.end(),
                       [](const Observer* one) { return one->wants_completions(); });
  }
  void missed() noexcept override {
    for (Observer* one : observers_) { one->missed(); }
  }
  std::uint64_t findings() const override {
    std::uint64_t sum = 0;
    for (const Observer* one : observers_) { sum += one->findings(); }
    return sum;
  }

 private:
  template <class Tell>
  void each(Tell tell) {
    for (Observer* one : observers_) { tell(*one); }
  }
  template <class Ask>
  hal_error* first_error(Ask ask) {
    for (Observer* one : observers_) {
      if (hal_error* error = ask(*one)) { return error; }
    }
    return nullptr;
  }

  std::vector<Observer*> observers_;
};

using WrapperMaker = Result<std::unique_ptr<Wrapper>> (*)(std::string_view, Instance&);
using ObserverMaker = Result<std::unique_ptr<Observer>> (*)(std::string_view, Instance&);
struct Known {
  const char* name;
  const char* usage;
  WrapperMaker wrapper;
  ObserverMaker observer;
  const char* writes = nullptr;  // layers whose argument is a file to write: an example of one
};
constexpr std::array kKnown{
    Known{"mask", "mask=FEATURE+FEATURE+... hides what a device can do", layers::make_mask, nullptr},
    Known{"oom", "oom=N, oom=each:N or oom=random:SEED:N fails allocations", layers::make_oom, nullptr},
    Known{"record", "record=FILE writes a recording for 'halyard replay'", nullptr, layers::make_record, "run.halrec"},
    Known{"trace", "trace=FILE writes a Perfetto trace, trace=FILE+device one with the devices' own clocks", nullptr,
          nullptr, "run.json"},
    Known{"validation", "validation or validation=fatal reports misuse", nullptr, layers::make_validation},
};

struct TraceArgument {
  std::string_view file;
  bool device = false;
};
// FILE or FILE+device. Behind a '+' in the file's own name stands a word for us, so that a slip makes no file of it.
Result<TraceArgument> trace_argument(std::string_view text) {
  const std::size_t folder = text.rfind('/');
  const std::size_t plus = text.find('+', folder == std::string_view::npos ? 0 : folder);
  if (plus == std::string_view::npos) { return TraceArgument{text}; }
  if (text.substr(plus) == "+device") { return TraceArgument{text.substr(0, plus), true}; }
  return Error(
      HAL_INVALID_ARGUMENT,
      fmt::format("layer trace: '{}' behind the file; it takes nothing, or +device, once. A file's own name has "
                  "no '+', its folders may",
                  text.substr(plus)));
}

std::string usages() {
  std::string text;
  for (const Known& known : kKnown) { text += fmt::format("{}{}", text.empty() ? "" : "; ", known.usage); }
  return text;
}

constexpr int kMostLinks = 40;  // as the system's own

bool is_same_file(const std::string& a, const std::string& b) {
  namespace fs = std::filesystem;
  std::error_code problem;
  if (fs::exists(a, problem) && !fs::is_regular_file(a, problem)) { return false; }  // /dev/null takes it all
  if (a == b || fs::equivalent(a, b, problem)) { return true; }
  // Of what does not exist weakly_canonical() leaves a relative path relative, and a link that leads there a link.
  const auto full = [](const std::string& path) {
    std::error_code failed, ignored;
    fs::path at = fs::weakly_canonical(fs::absolute(path, failed), failed);
    for (int links = 0; !failed && fs::is_symlink(at, ignored); ++links) {
      if (links == kMostLinks) { return fs::path(); }
      at = fs::weakly_canonical(at.parent_path() / fs::read_symlink(at, ignored), failed);
    }
    return failed ? fs::path() : at;
  };
  const fs::path full_a = full(a);
  return !full_a.empty() && full_a == full(b);
}

// The files that layers write, so that no two write one. Ranks of one launch write one each: run.json.rank0,
// run.json.rank1, ...
class Files {
 public:
  Result<std::string> claim(const Known& layer, std::string_view argument) {
    if (argument.empty()) {
      return Error(HAL_INVALID_ARGUMENT,
                   fmt::format("layer {0} needs a file to write: {0}={1}", layer.name, layer.writes));
    }
    const char* rank = setting("HALYARD_RANK");
    std::string path = rank != nullptr ? fmt::format("{}.rank{}", argument, rank) : std::string(argument);
    for (const auto& [name, taken] : taken_) {
      if (!is_same_file(path, taken)) { continue; }
      return Error(HAL_INVALID_ARGUMENT,
                   fmt::format("layer {} was to write {}, which layer {} writes already; give each a file of its own",
                               layer.name, path, name));
    }
    taken_.emplace_back(layer.name, path);
    return path;
  }

 private:
  std::vector<std::pair<const char*, std::string>> taken_;
};

}  // namespace

Result<Layers> make_layers(std::string_view list, const char* trace, Instance& instance) {
  Layers made;
  Files files;
  bool stamped = false;
  const auto add = [&](const Known& known, std::string_view argument) -> Result<void> {
    std::string path;
    const bool is_trace = known.wrapper == nullptr && known.observer == nullptr;
    bool device = false;
    if (is_trace) {
      HAL_TRY(const TraceArgument read, trace_argument(argument));
      argument = read.file;
      device = read.device;
      if (device && std::exchange(stamped, true)) {
        return Error(HAL_INVALID_ARGUMENT, "two layers trace were to take devices' stamps; one does it for both");
      }
    }
    if (known.writes != nullptr) {
      HAL_TRY(path, files.claim(known, argument));
      argument = path;
    }
    if (is_trace) { return layers::make_trace(argument, device, instance, made); }
    if (known.wrapper != nullptr) {
      HAL_TRY(auto wrapper, known.wrapper(argument, instance));
      made.wrappers.push_back(std::move(wrapper));
    } else {
      HAL_TRY(auto observer, known.observer(argument, instance));
      made.observers.push_back(std::move(observer));
    }
    return {};
  };
  const auto named = [](std::string_view name) {
    return std::find_if(kKnown.begin(), kKnown.end(), [&](const Known& one) { return name == one.name; });
  };
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(','), list.size());
    const std::string_view part = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    const std::size_t equals = std::min(part.find('='), part.size());
    const std::string_view name = part.substr(0, equals), argument = part.substr(std::min(equals + 1, part.size()));
    const auto* known = named(name);
    if (known == kKnown.end()) {
      return Error(HAL_INVALID_ARGUMENT, fmt::format("there is no layer '{}'; the layers are: {}", name, usages()));
    }
    HAL_CHECK(add(*known, argument));
  }
  if (trace != nullptr) { HAL_CHECK(add(*named("trace"), trace)); }
  if (made.observers.size() > 1) {
    std::vector<Observer*> all;
    for (const auto& observer : made.observers) { all.push_back(observer.get()); }
    made.all = std::make_unique<Fanout>(std::move(all));
  }
  return made;
}

}  // namespace hal::core
