// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "driver_kit/errors.hpp"
#include "driver_kit/params.hpp"
#include "fabric/port/port.hpp"

namespace hal::fabric {
namespace {

constexpr std::uint64_t kDefaultDeadlineMs = 60'000;
constexpr std::uint64_t kMaxDeadlineMs = 86'400'000;
constexpr std::chrono::milliseconds kJoinTimeout{30'000};

std::uint64_t physical_memory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long size = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(size) : 0;
}

hal_device_info describe(const Driver& driver, std::uint32_t i) {
  hal_device_info info{};
  info.uri = driver.uris[i].c_str();
  info.name = driver.names[i].c_str();
  info.driver = kOrigin;
  info.vendor = "Halyard";
  info.reason = driver.discovery.reason.c_str();
  info.memory_bytes = physical_memory();
  info.is_emulated = 1;
  info.usable = driver.discovery.reason.empty() ? 1 : 0;
  return info;
}

Result<std::uint64_t> deadline_setting(const Driver& driver) {
  const char* text = driver.setting("HALYARD_FABRIC_DEADLINE_MS");
  if (text == nullptr) { return kDefaultDeadlineMs; }
  std::uint64_t value = 0;
  const auto [end, status] = std::from_chars(text, text + std::strlen(text), value);
  if (status != std::errc{} || *end != 0 || value == 0 || value > kMaxDeadlineMs) {
    return fail(HAL_INVALID_ARGUMENT, "HALYARD_FABRIC_DEADLINE_MS is \"{}\"; it must be 1 to {}", text, kMaxDeadlineMs);
  }
  return value;
}

hal_error* open(Driver& driver, const hal_device_request& request, hal_device_traits& out) {
  const auto refuse = [](hal_code code, const std::string& what) { return kit::make_error(kOrigin, code, what); };
  if (request.index >= driver.uris.size()) {
    return refuse(HAL_NOT_FOUND,
                  fmt::format("there is no {}:{}; the last is {}", kOrigin, request.index, driver.uris.back()));
  }
  if (!driver.discovery.reason.empty()) { return refuse(HAL_UNAVAILABLE, driver.discovery.reason); }
  if (*request.part != 0) { return refuse(HAL_INVALID_ARGUMENT, "a fabric port has no parts"); }
  auto deadline = deadline_setting(driver);
  if (!deadline) { return to_error(deadline.error()); }
  auto params = kit::Params::parse(kOrigin, request.params);
  if (!params) { return std::move(params).error().release(); }
  auto chosen = params->number("deadline_ms", *deadline);
  if (!chosen) { return std::move(chosen).error().release(); }
  if (*chosen == 0 || *chosen > kMaxDeadlineMs) {
    return refuse(HAL_INVALID_ARGUMENT, fmt::format("deadline_ms is {}; it must be 1 to {}", *chosen, kMaxDeadlineMs));
  }
  if (auto done = params->done(); !done) { return std::move(done).error().release(); }

  auto port = std::make_unique<Port>();
  port->driver = &driver;
  port->index = request.index;
  port->rank = driver.rank_of(request.index);
  port->limit_bytes = physical_memory();
  auto plane = driver.open_plane();
  if (!plane) { return to_error(plane.error()); }
  port->plane = *std::move(plane);
  port->name = port->plane->topology().ports[port->rank];

  Engine::Options options;
  options.rank = port->rank;
  options.deadline = std::chrono::milliseconds(static_cast<std::int64_t>(*chosen));
  if (const char* provider = driver.setting("HALYARD_FABRIC_PROVIDER"); provider != nullptr && *provider != 0) {
    options.providers = provider;
  }
  auto engine = Engine::start(options);
  if (!engine) { return to_error(engine.error()); }
  port->engine = *std::move(engine);
  if (driver.discovery.world.size > 1) {
    auto session = Session::join(driver.discovery.world, kOrigin, kJoinTimeout);
    if (!session) { return to_error(session.error()); }
    port->session = *std::move(session);
    port->session->listen(
        [self = port.get()](const Notice& notice) { self->engine->run([self, notice] { self->hear(notice); }); });
  }
  out = {};
  out.ops = 1U << HAL_OP_BARRIER | 1U << HAL_OP_FILL | 1U << HAL_OP_COPY | 1U << HAL_OP_PUT | 1U << HAL_OP_GET |
            1U << HAL_OP_SEND | 1U << HAL_OP_RECV | 1U << HAL_OP_TIMESTAMP | 1U << HAL_OP_CIRCUIT;
  out.memory_bytes = port->limit_bytes;
  out.info = describe(driver, request.index);
  out.impl = port.release();
  return nullptr;
}

}  // namespace

Result<std::shared_ptr<Plane>> Driver::open_plane() {
  const std::lock_guard lock(mutex);
  if (auto open = plane.lock()) { return open; }
  std::string text;
  Result<Topology> topology = fail(HAL_INTERNAL, "");
  if (discovery.topology.empty()) {
    HAL_FABRIC_TRY(text, built_in_topology(discovery.ports));
    topology = parse_topology(text, "built-in");
  } else {
    topology = load_topology(discovery.topology);
  }
  if (!topology) { return std::unexpected(std::move(topology).error()); }
  if (topology->ports.size() < discovery.ports) {
    return fail(HAL_UNAVAILABLE, "{} had {} ports when it was first read and has {} now", discovery.topology,
                discovery.ports, topology->ports.size());
  }
  auto made = std::make_shared<Plane>(*std::move(topology));
  if (const char* faults = setting("HALYARD_FABRIC_FAULTS"); faults != nullptr) {
    for (std::string_view rest = faults; !rest.empty();) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      HAL_FABRIC_TRY(const Fault fault, parse_fault(made->topology(), rest.substr(0, comma)));
      made->inject(fault);
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  plane = made;
  return made;
}

Port::~Port() {
  if (session) { session->listen(nullptr); }
  session.reset();
  // What others told it last may still be in its way, and reaches for this object: stop before anything goes.
  if (engine) { engine->stop(); }
  engine.reset();  // before the memory that it may still touch
}

std::uint32_t device_count(hal_driver* self) {
  return static_cast<std::uint32_t>(static_cast<Driver*>(self)->uris.size());
}

void device_describe(hal_driver* self, std::uint32_t i, hal_device_info* out) {
  *out = describe(*static_cast<Driver*>(self), i);
}

hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out) {
  return kit::guarded(kOrigin, [&] { return open(*static_cast<Driver*>(self), *request, *out); });
}

void device_close(hal_driver*, void* device) { delete &port_of(device); }

hal_verdict supports(hal_driver*, void* device, const char* feature) {
  const auto is = [feature](const char* name) { return std::strcmp(feature, name) == 0; };
  if (is("fabric")) {
    return port_of(device).verdicts.keep(
        HAL_EMULATED, fmt::format("bytes cross libfabric's {} on the loopback interface; light, times and energy are "
                                  "modelled",
                                  port_of(device).engine->provider()));
  }
  if (is("graph.dynamic") || is("constants")) { return kit::no("a fabric port moves bytes and computes nothing"); }
  if (is("virtual-memory")) { return kit::no("not yet: port memory is registered with the provider as a whole"); }
  if (is("share.fd")) { return kit::no("not yet: it needs virtual memory"); }
  if (is("import.host")) {
    return kit::no("not yet: a port's buffers are its own, so that no peer reaches what is gone");
  }
  if (is("host-visible")) { return kit::yes("a port's memory is host memory that libfabric reaches"); }
  if (is("timestamp")) { return kit::emulated("the virtual time of the emulated plane"); }
  if (is("kernel") || is("graph")) { return kit::no("a fabric port moves bytes and computes nothing"); }
  if (is("partition")) { return kit::no("a fabric port has no parts"); }
  if (std::strncmp(feature, "dtype.", 6) == 0 || std::strncmp(feature, "image.", 6) == 0) {
    return kit::no("a fabric port moves bytes and computes nothing");
  }
  return kit::unknown_feature();
}

std::uint32_t number(hal_driver*, void* device, const char* name, std::uint64_t* out) {
  Port& port = port_of(device);
  const auto is = [name](const char* known) { return std::strcmp(name, known) == 0; };
  if (is("memory.alignment")) {
    *out = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  } else if (is("fabric.rank")) {
    *out = port.rank;
  } else if (is("fabric.ports")) {
    *out = port.plane->topology().ports.size();
  } else if (is("fabric.modelled_ns")) {
    *out = static_cast<std::uint64_t>(port.plane->now().count() / 1000);
  } else if (is("fabric.modelled_bytes")) {
    *out = port.plane->report().bytes();
  } else if (is("fabric.modelled_fj")) {
    *out = port.plane->report().energy();
  } else {
    return 0;
  }
  return 1;
}

hal_error* report(hal_driver*, void* device, char** out) {
  return kit::guarded(kOrigin, [&]() -> hal_error* {
    Port& port = port_of(device);
    Report made = port.plane->report();
    made.port = port.name;
    made.provider = port.engine->provider();
    *out = ::strdup(to_json(made).c_str());
    if (*out == nullptr) { return kit::make_error(kOrigin, HAL_OUT_OF_HOST_MEMORY, "no memory for the report"); }
    return nullptr;
  });
}

hal_verdict program_check(hal_driver*, void*, const hal_image*) {
  return kit::no("a fabric port moves bytes and computes nothing");
}

hal_error* program_load(hal_driver*, void*, const hal_image*, const hal_signature*, std::uint32_t, void**) {
  return kit::make_error(kOrigin, HAL_UNSUPPORTED,
                         "a fabric port loads no programs: run them on a device beside it and copy");
}

void program_unload(hal_driver*, void*, void*) {}

}  // namespace hal::fabric
