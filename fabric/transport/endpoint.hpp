// SPDX-License-Identifier: Apache-2.0
// One libfabric endpoint of type RDM with its domain, address vector and completion queue. Used by one thread.
#pragma once

#include "fabric/status.hpp"
#include "fabric/transport/library.hpp"

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>

#include <cstdint>
#include <memory>
#include <string>

namespace hal::fabric {

// Where a peer may put into or get from: what travels to the peer.
struct RemoteRegion {
  std::uint64_t key = 0;
  std::uint64_t address = 0;  // offset, or virtual address where the provider wants one
  std::uint64_t length = 0;
};

// What one operation asks of the provider. `context` must stay until its completion has been read.
struct EndpointRequest {
  enum class Kind { put, get, send, recv };
  Kind kind = Kind::put;
  fi_addr_t peer = FI_ADDR_UNSPEC;
  void* data = nullptr;
  std::size_t bytes = 0;
  void* descriptor = nullptr;                        // of local memory, if the provider wants it registered
  std::uint64_t remote_address = 0, remote_key = 0;  // put, get
  std::uint64_t tag = 0;                             // send, recv
  std::uint64_t stamp = 0;                           // send: 8 bytes that arrive with the message
  fi_context2* context = nullptr;
};

struct EndpointCompletion {
  void* context = nullptr;
  int error = 0;  // 0, or a positive libfabric error
  std::uint64_t bytes = 0;
  std::uint64_t stamp = 0;
  std::string detail;
};

class Endpoint {
 public:
  // Tries the providers in order ("tcp;ofi_rxm,net"). Loopback only.
  // Errors: UNAVAILABLE  no libfabric, or none of the providers can do it, each with its reason.
  static Result<std::unique_ptr<Endpoint>> open(const std::string& providers);
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  const std::string& provider() const noexcept { return provider_; }
  const std::string& name() const noexcept { return name_; }
  std::uint64_t max_message() const noexcept { return max_message_; }
  bool wants_local_memory_registered() const noexcept { return (mr_mode_ & FI_MR_LOCAL) != 0; }

  Result<fi_addr_t> insert(const std::string& name);
  void remove(fi_addr_t address);

  // Memory that peers may read and write (`remote`), or that only this endpoint uses.
  Result<fid_mr*> register_memory(void* data, std::size_t bytes, bool remote);
  RemoteRegion describe(fid_mr* region, const void* data, std::size_t bytes) const;

  // 0, or negative: -FI_EAGAIN asks to come again after some progress.
  std::int64_t post(const EndpointRequest& request);
  void cancel(fi_context2* context);
  // Drives progress, and gives one completion if there is one.
  bool poll(EndpointCompletion& out);

  // Readable when poll() may have something, but only after may_sleep() said yes.
  int wait_fd() const noexcept { return wait_fd_; }
  bool may_sleep();

  const FabricLibrary& library() const noexcept { return *library_; }

 private:
  explicit Endpoint(const FabricLibrary& library) : library_(&library) {}
  Result<void> open_provider(const std::string& provider);

  const FabricLibrary* library_;
  std::string provider_;
  std::string name_;
  fi_info* info_ = nullptr;
  fid_fabric* fabric_ = nullptr;
  fid_domain* domain_ = nullptr;
  fid_av* av_ = nullptr;
  fid_cq* cq_ = nullptr;
  fid_ep* endpoint_ = nullptr;
  int wait_fd_ = -1;
  std::uint64_t mr_mode_ = 0;
  std::uint64_t max_message_ = 0;
  std::uint64_t next_key_ = 1;
};

}  // namespace hal::fabric
