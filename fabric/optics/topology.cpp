// SPDX-License-Identifier: Apache-2.0
#include "fabric/optics/topology.hpp"

#include "fabric/optics/json.hpp"
#include "fabric/optics/topology_check.hpp"
#include "hal/text/file.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <iterator>
#include <map>
#include <set>

namespace hal::fabric {
namespace {

constexpr std::size_t kMaxIdLength = 64;

// Reads one file. Every function returns false, or nothing, after the first failure, which stays.
class Reader {
 public:
  explicit Reader(std::string_view name) { plane_.name = name; }

  Result<Topology> read(const Json& root) {
    if (document(root)) { return std::move(plane_); }
    return std::unexpected(std::move(*failure_));
  }

 private:
  template <class... Args>
  bool wrong(TextPosition at, fmt::format_string<Args...> text, Args&&... args) {
    if (!failure_) {
      failure_ = fail(HAL_INVALID_ARGUMENT, "{}:{}:{}: {}", plane_.name, at.line, at.column,
                      fmt::format(text, std::forward<Args>(args)...))
                     .error();
    }
    return false;
  }

  bool is(const Json& value, Json::Kind kind, std::string_view what) {
    if (value.kind == kind) { return true; }
    return wrong(value.at, "{} must be {}, found {}", what, name_of(kind), name_of(value.kind));
  }

  bool keys(const Json& object, std::string_view what, std::initializer_list<std::string_view> known) {
    if (!is(object, Json::Kind::object, what)) { return false; }
    for (const JsonMember& member : object.members) {
      if (std::find(known.begin(), known.end(), member.key) == known.end()) {
        return wrong(member.at, "{} has no key \"{}\"; it takes {}", what, member.key, fmt::join(known, ", "));
      }
    }
    return true;
  }

  bool number(const Json& object, std::string_view key, double low, double high, double& out, bool needed = false) {
    const Json* value = object.find(key);
    if (value == nullptr) { return !needed || wrong(object.at, "\"{}\" is missing", key); }
    if (!is(*value, Json::Kind::number, key)) { return false; }
    if (value->number < low || value->number > high) {
      return wrong(value->at, "{} is {}, it must be {} to {}", key, value->number, low, high);
    }
    out = value->number;
    return true;
  }

  template <class Integer>
  bool integer(const Json& object, std::string_view key, double low, double high, Integer& out, bool needed = false) {
    auto value = static_cast<double>(out);
    if (!number(object, key, low, high, value, needed)) { return false; }
    if (value != std::floor(value)) { return wrong(object.find(key)->at, "{} is {}, it must be whole", key, value); }
    out = static_cast<Integer>(value);
    return true;
  }

  bool span(const Json& object, std::string_view key, Picoseconds& out, bool needed = false) {
    double us = to_microseconds(out);
    if (!number(object, key, 0.0, kMaxMicroseconds, us, needed)) { return false; }
    out = from_microseconds(us);
    return true;
  }

  // A name: letters, digits, '.', '_' and '-'.
  bool id(const Json& object, std::string_view key, std::string& out) {
    const Json* value = object.find(key);
    if (value == nullptr) { return wrong(object.at, "\"{}\" is missing", key); }
    return is(*value, Json::Kind::string, key) && good_id(value->at, value->string) && (out = value->string, true);
  }

  bool good_id(TextPosition at, const std::string& text) {
    const auto good = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
             c == '-';
    };
    if (!text.empty() && text.size() <= kMaxIdLength && std::all_of(text.begin(), text.end(), good)) { return true; }
    return wrong(at, "an id is 1 to {} letters, digits, '.', '_' or '-'; found \"{}\"", kMaxIdLength,
                 text.substr(0, kMaxIdLength));
  }

  template <class Each>
  bool each(const Json& root, std::string_view key, std::size_t limit, Each read_one) {
    const Json* list = root.find(key);
    if (list == nullptr) { return true; }
    if (!is(*list, Json::Kind::array, key)) { return false; }
    if (list->items.size() > limit) {
      return wrong(list->at, "{} {}, the limit is {}", list->items.size(), key, limit);
    }
    return std::all_of(list->items.begin(), list->items.end(), read_one);
  }

  bool document(const Json& root) {
    if (!keys(root, "a plane",
              {"schema", "seed", "profiles", "modules", "ocs", "fibres", "permutations", "initial", "faults"})) {
      return false;
    }
    const Json* schema = root.find("schema");
    if (schema == nullptr) { return wrong(root.at, "\"schema\" is missing; this reader knows photonic-plane/1"); }
    if (schema->kind != Json::Kind::string || schema->string != "photonic-plane/1") {
      return wrong(schema->at, "unknown schema \"{}\"; this reader knows photonic-plane/1", schema->string);
    }
    plane_.profiles.assign(built_in_profiles().begin(), built_in_profiles().end());
    return integer(root, "seed", 0.0, 9007199254740992.0, plane_.seed) && profiles(root) &&
           each(root, "modules", kMaxModules, [this](const Json& m) { return module(m); }) &&
           each(root, "ocs", kMaxModules, [this](const Json& o) { return ocs(o); }) &&
           each(root, "fibres", 2 * kMaxModules, [this](const Json& f) { return fibre(f); }) && some_modules(root) &&
           permutations(root) && initial(root) &&
           each(root, "faults", kMaxModules, [this](const Json& f) { return fault(f); });
  }

  bool some_modules(const Json& root) {
    return !plane_.modules.empty() || wrong(root.at, "a plane needs at least one module");
  }

  bool profiles(const Json& root) {
    const Json* table = root.find("profiles");
    if (table == nullptr) { return true; }
    if (!is(*table, Json::Kind::object, "profiles")) { return false; }
    for (const JsonMember& member : table->members) {
      if (!good_id(member.at, member.key) || !profile(member)) { return false; }
    }
    return true;
  }

  bool profile(const JsonMember& member) {
    const Json& value = member.value;
    SwitchProfile read;
    read.name = member.key;
    read.source = "the topology file";
    if (!keys(value, "a profile", {"switch_us", "relock_us", "hitless", "source"}) ||
        !span(value, "switch_us", read.switch_time, true) || !span(value, "relock_us", read.relock_time, true)) {
      return false;
    }
    if (const Json* hitless = value.find("hitless")) {
      if (!is(*hitless, Json::Kind::boolean, "hitless")) { return false; }
      read.hitless = hitless->boolean;
    }
    if (const Json* source = value.find("source")) {
      if (!is(*source, Json::Kind::string, "source")) { return false; }
      read.source = source->string;
    }
    for (SwitchProfile& known : plane_.profiles) {
      if (known.name == read.name) {  // a file may give its own numbers to a built-in name
        known = std::move(read);
        return true;
      }
    }
    plane_.profiles.push_back(std::move(read));
    return true;
  }

  bool fresh(const Json& object, const std::string& id, std::size_t index) {
    return ids_.emplace(id, index).second || wrong(object.find("id")->at, "the id \"{}\" is taken", id);
  }

  bool module(const Json& value) {
    ModuleSpec read;
    std::string port;
    double gbps = 200.0;
    double picojoules = 3.1;
    if (!keys(value, "a module", {"id", "port", "lanes", "gbps", "tx_dbm", "pj_per_bit"}) ||
        !id(value, "id", read.id) || !fresh(value, read.id, plane_.modules.size()) || !id(value, "port", port) ||
        !integer(value, "lanes", 1.0, kMaxLanes, read.lanes) || !number(value, "gbps", 0.1, 1600.0, gbps) ||
        !number(value, "tx_dbm", -40.0, 30.0, read.tx_dbm) || !number(value, "pj_per_bit", 0.0, 100.0, picojoules)) {
      return false;
    }
    read.lane_mbps = static_cast<std::uint64_t>(std::llround(gbps * 1e3));
    read.femtojoules_per_byte = static_cast<std::uint64_t>(std::llround(picojoules * 8e3));
    const auto known = std::find(plane_.ports.begin(), plane_.ports.end(), port);
    read.port = static_cast<std::size_t>(known - plane_.ports.begin());
    if (known == plane_.ports.end()) { plane_.ports.push_back(port); }
    plane_.modules.push_back(std::move(read));
    return true;
  }

  bool ocs(const Json& value) {
    OcsSpec read;
    std::string profile;
    if (!keys(value, "a circuit switch", {"id", "radix", "profile", "loss_db"}) || !id(value, "id", read.id) ||
        !fresh(value, read.id, kMaxModules + plane_.switches.size()) ||
        !integer(value, "radix", 2.0, kMaxRadix, read.radix, true) || !id(value, "profile", profile) ||
        !number(value, "loss_db", 0.0, 60.0, read.loss_db)) {
      return false;
    }
    const auto found = std::find_if(plane_.profiles.begin(), plane_.profiles.end(),
                                    [&](const SwitchProfile& p) { return p.name == profile; });
    if (found == plane_.profiles.end()) {
      std::vector<std::string_view> names;
      for (const SwitchProfile& p : plane_.profiles) { names.emplace_back(p.name); }
      return wrong(value.find("profile")->at, "no profile \"{}\"; there are {}", profile, fmt::join(names, ", "));
    }
    read.profile = static_cast<std::size_t>(found - plane_.profiles.begin());
    plane_.switches.push_back(std::move(read));
    return true;
  }

  // A hostile file may look up a million names, so not by Topology's linear search.
  std::optional<std::size_t> module_named(std::string_view id) const {
    const auto found = ids_.find(id);
    return found != ids_.end() && found->second < kMaxModules ? std::optional(found->second) : std::nullopt;
  }
  std::optional<std::size_t> switch_named(std::string_view id) const {
    const auto found = ids_.find(id);
    return found != ids_.end() && found->second >= kMaxModules ? std::optional(found->second - kMaxModules)
                                                               : std::nullopt;
  }

  // "m0", or "o0:7".
  bool end(const Json& fibre, std::string_view key, FibreEnd& out) {
    const Json* value = fibre.find(key);
    if (value == nullptr) { return wrong(fibre.at, "\"{}\" is missing", key); }
    if (!is(*value, Json::Kind::string, key)) { return false; }
    const std::string_view text = value->string;
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) {
      const auto found = module_named(text);
      if (!found) { return wrong(value->at, "no module \"{}\"", text.substr(0, kMaxIdLength)); }
      out = {true, *found, 0};
    } else {
      const auto found = switch_named(text.substr(0, colon));
      if (!found) {
        return wrong(value->at, "no circuit switch \"{}\"", text.substr(0, std::min(colon, kMaxIdLength)));
      }
      out = {false, *found, 0};
      if (!parse_part(text.substr(colon + 1), plane_.switches[*found].radix, out.port)) {
        return wrong(value->at, "\"{}\": the switch has ports 0 to {}", text.substr(0, kMaxIdLength),
                     plane_.switches[*found].radix - 1);
      }
    }
    if (!ends_.insert({out.is_module, out.index, out.port}).second) {
      return wrong(value->at, "\"{}\" already has a fibre", text);
    }
    return true;
  }

  bool fibre(const Json& value) {
    FibreSpec read;
    if (!keys(value, "a fibre", {"a", "b", "m", "loss_db"}) || !end(value, "a", read.a) || !end(value, "b", read.b) ||
        !number(value, "m", 0.0, 1e6, read.metres) || !number(value, "loss_db", 0.0, 60.0, read.loss_db)) {
      return false;
    }
    if (!read.a.is_module && !read.b.is_module) {
      return wrong(value.at, "a fibre joins two switches; a light path of this plane crosses one at most");
    }
    if (read.a.is_module && read.b.is_module &&
        plane_.modules[read.a.index].port == plane_.modules[read.b.index].port) {
      return wrong(value.at, "a fibre joins two modules of one port");
    }
    plane_.fibres.push_back(read);
    return true;
  }

  bool permutations(const Json& root) {
    const Json* table = root.find("permutations");
    if (table == nullptr) { return true; }
    if (!is(*table, Json::Kind::object, "permutations")) { return false; }
    // The switch that each module's fibre ends in.
    std::map<std::size_t, std::size_t> attached;
    for (const FibreSpec& f : plane_.fibres) {
      if (f.a.is_module && !f.b.is_module) { attached[f.a.index] = f.b.index; }
      if (f.b.is_module && !f.a.is_module) { attached[f.b.index] = f.a.index; }
    }
    for (const JsonMember& member : table->members) {
      Permutation read;
      read.name = member.key;
      if (!good_id(member.at, member.key) || !is(member.value, Json::Kind::array, member.key)) { return false; }
      std::set<std::size_t> from;
      std::set<std::size_t> to;
      for (const Json& pair : member.value.items) {
        LightPath path;
        if (!light_path(pair, attached, path)) { return false; }
        if (!from.insert(path.from).second) { return wrong(pair.at, "this module sends into another path already"); }
        if (!to.insert(path.to).second) { return wrong(pair.at, "this module receives another path already"); }
        read.paths.push_back(path);
      }
      light_paths_ += read.paths.size();
      if (light_paths_ > kMaxLightPaths) { return wrong(member.at, "more than {} light paths in all", kMaxLightPaths); }
      plane_.permutations.push_back(std::move(read));
    }
    return true;
  }

  bool light_path(const Json& pair, const std::map<std::size_t, std::size_t>& attached, LightPath& out) {
    if (!is(pair, Json::Kind::array, "a light path")) { return false; }
    if (pair.items.size() != 2) {
      return wrong(pair.at, "a light path is [from, to], found {} items", pair.items.size());
    }
    std::size_t* const sides[] = {&out.from, &out.to};
    for (std::size_t i = 0; i < 2; ++i) {
      const Json& item = pair.items[i];
      if (!is(item, Json::Kind::string, "a module of a light path")) { return false; }
      const auto found = module_named(item.string);
      if (!found) { return wrong(item.at, "no module \"{}\"", item.string.substr(0, kMaxIdLength)); }
      if (!attached.contains(*found)) {
        return wrong(item.at, "no fibre joins \"{}\" to a circuit switch", item.string);
      }
      *sides[i] = *found;
    }
    if (plane_.modules[out.from].port == plane_.modules[out.to].port) {
      return wrong(pair.at, "both modules belong to port \"{}\"", plane_.ports[plane_.modules[out.from].port]);
    }
    if (attached.at(out.from) != attached.at(out.to)) {
      return wrong(pair.at, "the modules are on two switches; a light path of this plane crosses one at most");
    }
    return true;
  }

  bool initial(const Json& root) {
    const Json* value = root.find("initial");
    if (value == nullptr) { return true; }
    if (!is(*value, Json::Kind::string, "initial")) { return false; }
    plane_.initial = plane_.find_permutation(value->string);
    return plane_.initial || wrong(value->at, "no permutation \"{}\"", value->string.substr(0, kMaxIdLength));
  }

  bool fault(const Json& value) {
    Fault read;
    if (!keys(value, "a fault", {"at_us", "what", "id"}) || !span(value, "at_us", read.at, true)) { return false; }
    const Json* what = value.find("what");
    const Json* where = value.find("id");
    if (what == nullptr || where == nullptr) { return wrong(value.at, "a fault needs \"what\" and \"id\""); }
    if (!is(*what, Json::Kind::string, "what") || !is(*where, Json::Kind::string, "id")) { return false; }
    auto resolved = resolve_fault(plane_, what->string, where->string, read.at);
    if (!resolved) { return wrong(where->at, "{}", resolved.error().what); }
    const auto later = std::upper_bound(plane_.faults.begin(), plane_.faults.end(), read.at,
                                        [](Picoseconds t, const Fault& f) { return t < f.at; });
    plane_.faults.insert(later, *resolved);
    return true;
  }

  Topology plane_;
  std::map<std::string, std::size_t, std::less<>> ids_;  // switches from kMaxModules on
  std::size_t light_paths_ = 0;
  std::set<std::tuple<bool, std::size_t, unsigned>> ends_;
  std::optional<Failure> failure_;
};

template <class List, class Key>
std::optional<std::size_t> index_of(const List& list, std::string_view name, Key key) noexcept {
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].*key == name) { return i; }
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::size_t> Topology::find_module(std::string_view id) const noexcept {
  return index_of(modules, id, &ModuleSpec::id);
}
std::optional<std::size_t> Topology::find_switch(std::string_view id) const noexcept {
  return index_of(switches, id, &OcsSpec::id);
}
std::optional<std::size_t> Topology::find_permutation(std::string_view wanted) const noexcept {
  return index_of(permutations, wanted, &Permutation::name);
}

bool parse_part(std::string_view text, unsigned limit, unsigned& out) noexcept {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), out);
  return status == std::errc{} && end == text.data() + text.size() && out < limit;
}

Result<Fault> resolve_fault(const Topology& topology, std::string_view what, std::string_view where, Picoseconds at) {
  const auto shown = [](std::string_view text) { return text.substr(0, kMaxIdLength); };
  Fault fault;
  fault.at = at;
  if (what == "ocs-port-stuck") {
    fault.kind = Fault::Kind::ocs_port_stuck;
    const std::size_t colon = where.find(':');
    const auto found = topology.find_switch(where.substr(0, colon));
    if (colon == std::string_view::npos || !found ||
        !parse_part(where.substr(colon + 1), topology.switches[*found].radix, fault.part)) {
      return fail(HAL_NOT_FOUND, "no switch port \"{}\"; a fault names one as \"o0:7\"", shown(where));
    }
    fault.index = *found;
    return fault;
  }
  if (what == "lane-light") {
    fault.kind = Fault::Kind::lane_light;
  } else if (what != "lane-dark") {
    return fail(HAL_INVALID_ARGUMENT, "unknown fault \"{}\"; there are lane-dark, lane-light and ocs-port-stuck",
                shown(what));
  }
  const std::size_t slash = where.find('/');
  const auto found = topology.find_module(where.substr(0, slash));
  if (slash == std::string_view::npos || !found ||
      !parse_part(where.substr(slash + 1), topology.modules[*found].lanes, fault.part)) {
    return fail(HAL_NOT_FOUND, "no lane \"{}\"; a fault names one as \"m0/3\"", shown(where));
  }
  fault.index = *found;
  return fault;
}

Result<Fault> parse_fault(const Topology& topology, std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::size_t sign = text.rfind('@');
  double us = 0.0;
  const auto bad = [&] {
    return fail(HAL_INVALID_ARGUMENT, "the fault \"{}\" is not of the form \"lane-dark:m0/3@5000\"", text);
  };
  if (colon == std::string_view::npos || sign == std::string_view::npos || sign < colon) { return bad(); }
  const std::string_view when = text.substr(sign + 1);
  const auto [end, status] = std::from_chars(when.data(), when.data() + when.size(), us);
  if (status != std::errc{} || end != when.data() + when.size() || !(us >= 0.0 && us <= kMaxMicroseconds)) {
    return bad();
  }
  return resolve_fault(topology, text.substr(0, colon), text.substr(colon + 1, sign - colon - 1),
                       from_microseconds(us));
}

Result<Topology> parse_topology(std::string_view text, std::string_view name) {
  HAL_FABRIC_TRY(const Json root, parse_json(text, name));
  return Reader(name).read(root);
}

Result<Topology> load_topology(const std::string& path) {
  const text::File in = text::open_to_read(path.c_str());
  if (!in) { return fail_errno(HAL_NOT_FOUND, errno, fmt::format("the topology file \"{}\" cannot be opened", path)); }
  std::string text(kJsonMaxBytes + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), in.get()));
  if (std::ferror(in.get()) != 0) {
    return fail_errno(HAL_NOT_FOUND, errno, fmt::format("the topology file \"{}\" cannot be read", path));
  }
  return parse_topology(text, path);
}

Result<std::string> built_in_topology(std::size_t ports) {
  if (ports < 2 || ports > 16) {
    return fail(HAL_INVALID_ARGUMENT,
                "the built-in plane has 2 to 16 ports, asked for {}; give a topology file for more", ports);
  }
  std::string modules;
  std::string fibres;
  std::string mesh;
  std::string ring;
  unsigned socket = 0;
  const auto append = [](std::string& list, std::string item) {
    list += list.empty() ? "\n    " : ",\n    ";
    list += item;
  };
  for (std::size_t a = 0; a < ports; ++a) {
    for (std::size_t b = 0; b < ports; ++b) {
      if (a == b) { continue; }
      append(modules, fmt::format(R"({{"id": "m{}.{}", "port": "h{}", "lanes": 8, "gbps": 200}})", a, b, a));
      append(fibres, fmt::format(R"({{"a": "m{}.{}", "b": "o0:{}", "m": 10, "loss_db": 0.3}})", a, b, socket++));
      const std::string path = fmt::format(R"(["m{}.{}", "m{}.{}"])", a, b, b, a);
      append(mesh, path);
      if (b == (a + 1) % ports) { append(ring, path); }
    }
  }
  return fmt::format(
      "{{\n  \"schema\": \"photonic-plane/1\",\n  \"seed\": 1,\n  \"modules\": [{}],\n"
      "  \"ocs\": [{{\"id\": \"o0\", \"radix\": {}, \"profile\": \"siph\", \"loss_db\": 1.8}}],\n  \"fibres\": [{}],\n"
      "  \"permutations\": {{\n  \"mesh\": [{}],\n  \"ring\": [{}]}},\n  \"initial\": \"mesh\"\n}}\n",
      modules, socket, fibres, mesh, ring);
}

}  // namespace hal::fabric
