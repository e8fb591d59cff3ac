// SPDX-License-Identifier: Apache-2.0
#include "topology/machine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>
#include <system_error>

#include "text/utf8.hpp"

namespace hal::topology {
namespace {

constexpr std::uint64_t kMostXmlBytes = 64U << 20U;
constexpr std::uint64_t kMostObjects = 65'536;

std::string list_of(hwloc_const_bitmap_t cpus) {
  if (cpus == nullptr) { return {}; }
  const int length = hwloc_bitmap_list_snprintf(nullptr, 0, cpus);
  std::string text(static_cast<std::size_t>(length), '\0');
  hwloc_bitmap_list_snprintf(text.data(), text.size() + 1, cpus);
  return text;
}

std::uint32_t weight_of(hwloc_const_bitmap_t cpus) {
  return cpus == nullptr ? 0 : static_cast<std::uint32_t>(std::max(0, hwloc_bitmap_weight(cpus)));
}

std::uint32_t count(hwloc_topology* loaded, hwloc_obj_type_t type) {
  return static_cast<std::uint32_t>(std::max(0, hwloc_get_nbobjs_by_type(loaded, type)));
}

hwloc_obj_t nth(hwloc_topology* loaded, hwloc_obj_type_t type, std::uint32_t i) {
  return hwloc_get_obj_by_type(loaded, type, i);
}

Result<void> check_file(const std::string& path) {
  std::error_code problem;
  const std::uint64_t bytes = std::filesystem::file_size(path, problem);
  if (problem) {
    return Error(HAL_NOT_FOUND, fmt::format("the topology file '{}' cannot be read: {}", path, problem.message()));
  }
  if (bytes > kMostXmlBytes) {
    return Error(HAL_OUT_OF_RANGE,
                 fmt::format("the topology file '{}' has {} bytes; the most is {}", path, bytes, kMostXmlBytes));
  }
  return {};
}

// Calls visit(name, value) for the attributes of a tag, `text` being what stands between its name and its '>', until it
// returns false. False too, with its name in `wrong`, for one that has no value in quotes.
template <class Visit>
bool each_attribute(std::string_view text, std::string& wrong, Visit&& visit) {
  constexpr std::string_view kBlank = " \t\r\n/?";
  for (std::size_t at = text.find_first_not_of(kBlank); at < text.size(); at = text.find_first_not_of(kBlank, at)) {
    const std::size_t equals = std::min(text.find('=', at), text.size());
    const std::string_view name = text.substr(at, equals - at);
    wrong = name.substr(0, 40);
    const std::size_t close = text.find('"', equals + 2);
    if (close == std::string_view::npos || text[equals + 1] != '"') { return false; }
    if (!visit(name, text.substr(equals + 2, close - equals - 2))) { return false; }
    at = close + 1;
  }
  return true;
}

// What stands between `tag` and the next '>' from `at` on, which moves behind it; nothing if there is no such tag.
std::optional<std::string_view> next_tag(std::string_view xml, std::string_view tag, std::size_t& at) {
  while ((at = xml.find(tag, at)) != std::string_view::npos) {
    at += tag.size();
    const std::size_t end = xml.find('>', at);
    if (end == std::string_view::npos) { break; }
    if (at != end && xml[at] > ' ' && xml[at] != '/') { continue; }  // another tag's name begins like this one
    return xml.substr(at, end - at);
  }
  return {};
}

// Attributes of an object that hwloc 2 writes, and the set that one is.
enum Set : unsigned { kNoSet = 0, kCpus = 1, kCompleteCpus = 2, kNodes = 4, kCompleteNodes = 8 };
struct Attribute {
  std::string_view name;
  Set set = kNoSet;
};
constexpr Attribute kAttributes[] = {
    {"cpuset", kCpus},
    {"complete_cpuset", kCompleteCpus},
    {"nodeset", kNodes},
    {"complete_nodeset", kCompleteNodes},
    {"type"},
    {"subtype"},
    {"os_index"},
    {"gp_index"},
    {"name"},
    {"depth"},
    {"kind"},
    {"subkind"},
    {"allowed_cpuset"},
    {"allowed_nodeset"},
    {"local_memory"},
    {"memory"},
    {"cache_size"},
    {"cache_type"},
    {"cache_linesize"},
    {"cache_associativity"},
    {"dont_merge"},
    {"bridge_type"},
    {"bridge_pci"},
    {"pci_busid"},
    {"pci_type"},
    {"pci_link_speed"},
    {"osdev_type"},
};

// hwloc follows pointers that an object lacks when one of its sets comes under a misspelt name, so every attribute of
// an object must be one that hwloc 2 writes. Elsewhere it looks before it reads.
bool objects_are_spelt_right(std::string_view xml, std::string& wrong) {
  for (std::size_t at = 0; const auto object = next_tag(xml, "<object", at);) {
    unsigned sets = kNoSet;
    const bool known = each_attribute(*object, wrong, [&](std::string_view name, std::string_view) {
      const auto* found = std::ranges::find(kAttributes, name, &Attribute::name);
      if (found == std::end(kAttributes)) { return false; }
      sets |= found->set;
      return true;
    });
    if (!known) { return false; }
    if (((sets & kCpus) != 0) != ((sets & kCompleteCpus) != 0) ||
        ((sets & kNodes) != 0) != ((sets & kCompleteNodes) != 0)) {
      wrong = "a set without its complete one";
      return false;
    }
  }
  return true;
}

// hwloc's parser sees tags under names that the search for <object> does not: with a prefix, in another namespace, or
// out of an entity that the file defines. hwloc writes none of these. The first such tag, or nothing.
std::optional<std::string_view> foreign_tag(std::string_view xml) {
  constexpr std::string_view kEnd = " \t\r\n/<>\"'=";
  for (std::size_t at = xml.find('<'); at < xml.size(); at = xml.find('<', at)) {
    ++at;
    if (xml.substr(at).starts_with("!--")) { continue; }  // what stands in it is looked at all the same
    if (xml.substr(at).starts_with('/')) { ++at; }
    const std::string_view name = xml.substr(at, std::min(xml.find_first_of(kEnd, at), xml.size()) - at);
    if (name.contains(':')) { return name; }
    const bool type = name == "!DOCTYPE";
    char quote = 0;
    for (at += name.size(); at < xml.size(); ++at) {
      const char c = xml[at];
      if (c == '<') {  // in a tag, no quotes make that XML; in a document type they do
        if (type) { return name; }
        break;
      }
      if (quote != 0) {
        if (c == quote) { quote = 0; }
        continue;
      }
      if (c == '>') { break; }
      if (c == '"' || c == '\'') { quote = c; }
      if ((type && c == '[') || (kEnd.contains(xml[at - 1]) && xml.substr(at).starts_with("xmlns"))) { return name; }
    }
  }
  return {};
}

Result<void> check_text(const std::string& path) {
  constexpr std::string_view kMajor = "2";
  std::ifstream in(path, std::ios::binary);
  const std::string xml((std::istreambuf_iterator<char>(in)), {});
  std::string wrong;
  if (const auto tag = foreign_tag(xml)) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("'{}' is no hwloc topology: its tag <{}> has a namespace or definitions of its own; make "
                             "one with: lstopo machine.xml",
                             path, text::plain(tag->substr(0, 40))));
  }
  std::size_t at = 0;
  const auto root = next_tag(xml, "<topology", at);
  if (!root) {
    return Error(
        HAL_INVALID_ARGUMENT,
        fmt::format("'{}' is no hwloc topology: it has no tag <topology>; make one with: lstopo machine.xml", path));
  }
  std::string version = "1";  // hwloc 1 wrote none
  each_attribute(*root, wrong, [&](std::string_view name, std::string_view value) {
    if (name == "version") { version = value; }
    return true;
  });
  if (version.substr(0, version.find('.')) != kMajor) {
    return Error(HAL_INCOMPATIBLE,
                 fmt::format("'{}' is a topology in version {} of hwloc's format, {} is expected; make one with "
                             "lstopo of hwloc {}: lstopo machine.xml",
                             path, text::plain(version.substr(0, 40)), kMajor, kMajor));
  }
  if (objects_are_spelt_right(xml, wrong)) { return {}; }
  return Error(HAL_INVALID_ARGUMENT,
               fmt::format("'{}' is no hwloc topology: '{}' is no attribute of an object; make one "
                           "with: lstopo machine.xml",
                           path, text::plain(wrong)));
}

// How many objects the counts outside parentheses make; saturates.
std::uint64_t synthetic_objects(std::string_view text) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 40U;
  std::uint64_t product = 1;
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '(') { ++depth; }
    if (text[i] == ')') { --depth; }
    if (text[i] != ':' || depth != 0) { continue; }
    std::uint64_t count = 0;
    while (i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '9') {
      count = std::min(kMost, count * 10 + static_cast<std::uint64_t>(text[++i] - '0'));
    }
    product = std::min(kMost, product * std::max<std::uint64_t>(1, count));
  }
  return product;
}

enum class Pci { left_out, read };

// NULL source: this machine.
Result<Loaded> load(const char* source, Pci pci) {
  hwloc_topology* made = nullptr;
  if (hwloc_topology_init(&made) != 0) { return Error(HAL_OUT_OF_HOST_MEMORY, "hwloc cannot begin: no memory"); }
  Loaded loaded(made);
  if (pci == Pci::read) {
    hwloc_topology_set_io_types_filter(made, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_type_filter(made, HWLOC_OBJ_BRIDGE, HWLOC_TYPE_FILTER_KEEP_NONE);
  }
  const std::string_view text = source != nullptr ? source : "";
  if (text.starts_with("synthetic:")) {
    if (synthetic_objects(text.substr(std::strlen("synthetic:"))) > kMostObjects) {
      return Error(HAL_OUT_OF_RANGE, fmt::format("'{}' describes more than {} CPUs", text, kMostObjects));
    }
    if (hwloc_topology_set_synthetic(made, source + std::strlen("synthetic:")) != 0) {
      return Error(HAL_INVALID_ARGUMENT, fmt::format("hwloc refuses the description '{}'; one that it takes is "
                                                     "\"synthetic:pack:2 numa:1 core:4 pu:2\"",
                                                     text));
    }
  } else if (text.starts_with("xml:")) {
    const std::string path(text.substr(std::strlen("xml:")));
    HAL_CHECK(check_file(path));
    HAL_CHECK(check_text(path));
    if (hwloc_topology_set_xml(made, path.c_str()) != 0) {
      return Error(HAL_INVALID_ARGUMENT,
                   fmt::format("'{}' is no hwloc topology; make one with: lstopo machine.xml", path));
    }
  } else if (source != nullptr) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("the topology source '{}' starts with neither \"xml:\" nor \"synthetic:\"", text));
  }
  errno = 0;
  if (hwloc_topology_load(made) != 0) {
    if (source != nullptr) {
      return Error(
          HAL_INVALID_ARGUMENT,
          fmt::format("hwloc cannot make a machine of '{}'{}", text,
                      text.starts_with("xml:") ? "; without its plugin for libxml (Debian: libhwloc-plugins) it "
                                                 "reads little that it has not written itself"
                                               : ""));
    }
    return Error(HAL_UNAVAILABLE, fmt::format("hwloc cannot read this machine: {}", std::strerror(errno)));
  }
  return loaded;
}

std::string pci_text(std::uint64_t address) {
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", address >> 16U, address >> 8U & 0xffU, address >> 3U & 0x1fU,
                     address & 7U);
}

}  // namespace

Result<Machine*> Machine::open(const char* source) {
  HAL_TRY(Loaded loaded, load(source, Pci::left_out));
  std::unique_ptr<Machine> made(new Machine);
  made->object = {0x48414c54, 1, dispose};
  made->source_ = source != nullptr ? source : "this machine";
  made->is_this_machine_ = source == nullptr && hwloc_topology_is_thissystem(loaded.get()) != 0;
  made->loaded_ = std::move(loaded);
  if (made->is_this_machine_) {
    // As taskset and containers leave it. Without an answer nothing is known to be forbidden.
    made->allowed_.reset(hwloc_bitmap_alloc_full());
    if (made->allowed_ == nullptr) { throw std::bad_alloc(); }
    hwloc_get_cpubind(made->loaded_.get(), made->allowed_.get(), HWLOC_CPUBIND_THREAD);
  }
  made->read_nodes();
  return made.release();
}

void Machine::dispose(hal_object* object) { delete static_cast<Machine*>(reinterpret_cast<hal_topology*>(object)); }

void Machine::read_nodes() {
  hwloc_topology* loaded = loaded_.get();
  const std::uint32_t nodes = count(loaded, HWLOC_OBJ_NUMANODE);
  for (std::uint32_t i = 0; i < nodes; ++i) {
    hwloc_obj_t found = nth(loaded, HWLOC_OBJ_NUMANODE, i);
    hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(loaded, HWLOC_OBJ_PACKAGE, found);
    nodes_.push_back({found->attr->numanode.local_memory, list_of(found->cpuset), weight_of(found->cpuset),
                      package != nullptr ? package->logical_index : HAL_NO_PACKAGE, found->os_index});
  }
  if (nodes != 0) { latencies_.reserve(std::size_t{nodes} * nodes); }  // while nothing of hwloc's is to be given back
  hwloc_distances_s* table = nullptr;
  unsigned tables = 1;
  if (hwloc_distances_get_by_name(loaded, "NUMALatency", &tables, &table, 0) != 0 || tables == 0) { return; }
  if (table->nbobjs == nodes) {
    latencies_.resize(std::size_t{nodes} * nodes);
    for (std::uint32_t from = 0; from < nodes; ++from) {
      for (std::uint32_t to = 0; to < nodes; ++to) {
        latencies_[std::size_t{table->objs[from]->logical_index} * nodes + table->objs[to]->logical_index] =
            table->values[std::size_t{from} * nodes + to];
      }
    }
  }
  hwloc_distances_release(loaded, table);
}

hal_topology_info Machine::describe() const {
  hwloc_topology* loaded = loaded_.get();
  return {source_.c_str(),
          is_this_machine_ ? 1U : 0U,
          count(loaded, HWLOC_OBJ_PACKAGE),
          static_cast<std::uint32_t>(nodes_.size()),
          count(loaded, HWLOC_OBJ_CORE),
          count(loaded, HWLOC_OBJ_PU)};
}

Result<hal_topology_distance> Machine::distance(std::uint32_t from, std::uint32_t to) const {
  if (from >= nodes_.size() || to >= nodes_.size()) {
    return Error(HAL_OUT_OF_RANGE,
                 fmt::format("a distance from memory node {} to {} of a machine with {}", from, to, nodes_.size()));
  }
  if (!latencies_.empty()) { return hal_topology_distance{latencies_[from * nodes_.size() + to], 1}; }
  const bool near = nodes_[from].package == nodes_[to].package && nodes_[from].package != HAL_NO_PACKAGE;
  return hal_topology_distance{from == to ? 10U : near ? 15U : 20U, 0};
}

const char* Machine::keep(std::string text) {
  for (const std::string& kept : texts_) {
    if (kept == text) { return kept.c_str(); }
  }
  return texts_.emplace_back(std::move(text)).c_str();
}

// The machine once more, with its PCI devices.
Result<hwloc_topology*> Machine::with_pci() {
  if (!pci_) { HAL_TRY(pci_, load(is_this_machine_ ? nullptr : source_.c_str(), Pci::read)); }
  return pci_.get();
}

Result<hal_locality> Machine::locate(std::uint64_t pci_address) {
  const std::lock_guard lock(mutex_);
  HAL_TRY(hwloc_topology * loaded, with_pci());
  hwloc_obj_t found = hwloc_get_pcidev_by_busid(
      loaded, static_cast<unsigned>(pci_address >> 16U), static_cast<unsigned>(pci_address >> 8U & 0xffU),
      static_cast<unsigned>(pci_address >> 3U & 0x1fU), static_cast<unsigned>(pci_address & 7U));
  if (found == nullptr) {
    return Error(HAL_NOT_FOUND, fmt::format("the topology of {} has no PCI device {}; compare with: lspci -D", source_,
                                            pci_text(pci_address)));
  }
  hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(loaded, found);
  const bool one = hwloc_bitmap_weight(near->nodeset) == 1;
  std::uint32_t node = HAL_ANY_NODE;
  for (std::uint32_t i = 0; one && i < nodes_.size(); ++i) {
    if (nodes_[i].os_index == static_cast<std::uint32_t>(hwloc_bitmap_first(near->nodeset))) { node = i; }
  }
  return hal_locality{node, weight_of(near->cpuset), keep(list_of(near->cpuset)), keep("PCI " + pci_text(pci_address))};
}

hal_locality Machine::nowhere(const std::string& why) {
  const std::lock_guard lock(mutex_);
  hwloc_const_cpuset_t all = hwloc_topology_get_topology_cpuset(loaded_.get());
  return {nodes_.size() == 1 ? 0 : HAL_ANY_NODE, weight_of(all), keep(list_of(all)), keep(why)};
}

Result<hal_locality> Machine::locate(hal_device* device) {
  std::uint64_t address = 0;
  if (hal_error* none = hal_device_number(device, "pci.address", &address)) {
    hal_release(none);
    const hal_device_info info = hal_device_describe(device);
    return nowhere(info.is_emulated != 0 ? "emulated: it runs on the host's CPUs" : "its driver names no PCI address");
  }
  return locate(address);
}

Result<void> Machine::pin(std::uint32_t node) const {
  if (!is_this_machine_) {
    return Error(HAL_UNSUPPORTED,
                 fmt::format("pinning a thread by the topology of {}: only this machine's own can", source_));
  }
  hwloc_const_cpuset_t cpus = hwloc_topology_get_topology_cpuset(loaded_.get());
  if (node != HAL_ANY_NODE) {
    if (node >= nodes_.size() || nodes_[node].cpu_count == 0) {
      return Error(HAL_OUT_OF_RANGE,
                   fmt::format("pinning to memory node {}: the machine has {} nodes{}", node, nodes_.size(),
                               node < nodes_.size() ? ", and this one has no CPU" : ""));
    }
    cpus = nth(loaded_.get(), HWLOC_OBJ_NUMANODE, node)->cpuset;
  }
  const Bitmap both(hwloc_bitmap_alloc());
  if (both == nullptr || hwloc_bitmap_and(both.get(), cpus, allowed_.get()) != 0) { throw std::bad_alloc(); }
  if (hwloc_bitmap_iszero(both.get()) != 0) {
    return Error(HAL_UNAVAILABLE,
                 fmt::format("pinning to CPUs {}: the topology was opened where only CPUs {} were allowed",
                             list_of(cpus), list_of(allowed_.get())));
  }
  if (hwloc_set_cpubind(loaded_.get(), both.get(), HWLOC_CPUBIND_THREAD) != 0) {
    return Error(HAL_UNAVAILABLE, fmt::format("the system refuses to bind this thread to CPUs {}: {}",
                                              list_of(both.get()), std::strerror(errno)));
  }
  return {};
}

}  // namespace hal::topology
