// SPDX-License-Identifier: Apache-2.0
#include "fabric/transport/endpoint.hpp"

#include <netinet/in.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>

#include <array>
#include <cstring>

namespace hal::fabric {
namespace {

constexpr std::uint32_t kApi = FI_VERSION(1, 9);  // the oldest that has everything used here

void close(fid* object) {
  if (object != nullptr) { ::fi_close(object); }
}

}  // namespace

Result<std::unique_ptr<Endpoint>> Endpoint::open(const std::string& providers) {
  HAL_FABRIC_TRY(const FabricLibrary* library, fabric_library());
  std::string reasons;
  for (std::size_t at = 0; at <= providers.size();) {
    const std::size_t comma = std::min(providers.find(',', at), providers.size());
    const std::string provider = providers.substr(at, comma - at);
    at = comma + 1;
    std::unique_ptr<Endpoint> self(new Endpoint(*library));
    auto opened = self->open_provider(provider);
    if (opened) { return self; }
    reasons += fmt::format("; {}: {}", provider, opened.error().what);
  }
  const std::uint32_t version = library->version();
  return fail(HAL_UNAVAILABLE, "no libfabric provider of {} works for the fabric (libfabric {}.{}){}", providers,
              FI_MAJOR(version), FI_MINOR(version), reasons);
}

Result<void> Endpoint::open_provider(const std::string& provider) {
  const auto failed = [&](std::int64_t status, const char* what) {
    return library_->fail(HAL_UNAVAILABLE, status, what);
  };
  fi_info* hints = library_->dupinfo(nullptr);
  if (hints == nullptr) { return fail(HAL_OUT_OF_HOST_MEMORY, "no memory for fi_info"); }
  hints->caps = FI_MSG | FI_TAGGED | FI_RMA;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->addr_format = FI_SOCKADDR_IN;
  hints->ep_attr->type = FI_EP_RDM;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
  hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
  hints->fabric_attr->prov_name = ::strdup(provider.c_str());
  if (hints->fabric_attr->prov_name == nullptr) {  // without a name any provider would do
    library_->freeinfo(hints);
    return fail(HAL_OUT_OF_HOST_MEMORY, "no memory for fi_info");
  }
  int status = library_->getinfo(kApi, "127.0.0.1", nullptr, FI_SOURCE, hints, &info_);
  library_->freeinfo(hints);
  if (status != 0) { return failed(status, "fi_getinfo on 127.0.0.1"); }
  if (info_->domain_attr->cq_data_size < 8) {
    return fail(HAL_UNAVAILABLE, "messages carry {} bytes of extra data, 8 are needed",
                info_->domain_attr->cq_data_size);
  }
  provider_ = provider;
  mr_mode_ = static_cast<std::uint64_t>(info_->domain_attr->mr_mode);
  max_message_ = info_->ep_attr->max_msg_size;

  if (status = library_->fabric(info_->fabric_attr, &fabric_, nullptr); status != 0) {
    return failed(status, "fi_fabric");
  }
  if (status = ::fi_domain(fabric_, info_, &domain_, nullptr); status != 0) { return failed(status, "fi_domain"); }
  fi_av_attr av{};
  av.type = FI_AV_TABLE;
  if (status = ::fi_av_open(domain_, &av, &av_, nullptr); status != 0) { return failed(status, "fi_av_open"); }
  fi_cq_attr cq{};
  cq.size = 4096;
  cq.format = FI_CQ_FORMAT_TAGGED;
  cq.wait_obj = FI_WAIT_FD;
  if (status = ::fi_cq_open(domain_, &cq, &cq_, nullptr); status != 0) { return failed(status, "fi_cq_open"); }
  if (status = ::fi_endpoint(domain_, info_, &endpoint_, nullptr); status != 0) {
    return failed(status, "fi_endpoint");
  }
  if (status = ::fi_ep_bind(endpoint_, &av_->fid, 0); status != 0) { return failed(status, "fi_ep_bind of the AV"); }
  if (status = ::fi_ep_bind(endpoint_, &cq_->fid, FI_TRANSMIT | FI_RECV); status != 0) {
    return failed(status, "fi_ep_bind of the CQ");
  }
  if (status = ::fi_enable(endpoint_); status != 0) { return failed(status, "fi_enable"); }
  if (status = ::fi_control(&cq_->fid, FI_GETWAIT, &wait_fd_); status != 0) { return failed(status, "FI_GETWAIT"); }
  std::array<char, 256> name{};
  std::size_t length = name.size();
  if (status = ::fi_getname(&endpoint_->fid, name.data(), &length); status != 0) {
    return failed(status, "fi_getname");
  }
  name_.assign(name.data(), length);
  return {};
}

Endpoint::~Endpoint() {
  close(endpoint_ != nullptr ? &endpoint_->fid : nullptr);
  close(cq_ != nullptr ? &cq_->fid : nullptr);
  close(av_ != nullptr ? &av_->fid : nullptr);
  close(domain_ != nullptr ? &domain_->fid : nullptr);
  close(fabric_ != nullptr ? &fabric_->fid : nullptr);
  if (info_ != nullptr) { library_->freeinfo(info_); }
}

Result<fi_addr_t> Endpoint::insert(const std::string& name) {
  fi_addr_t address = FI_ADDR_UNSPEC;
  const int status = ::fi_av_insert(av_, name.data(), 1, &address, 0, nullptr);
  if (status != 1) { return library_->fail(HAL_PEER_LOST, status < 0 ? status : -FI_EINVAL, "fi_av_insert"); }
  return address;
}

void Endpoint::remove(fi_addr_t address) { ::fi_av_remove(av_, &address, 1, 0); }

Result<fid_mr*> Endpoint::register_memory(void* data, std::size_t bytes, bool remote) {
  fid_mr* region = nullptr;
  std::uint64_t access = FI_SEND | FI_RECV | FI_READ | FI_WRITE;
  if (remote) { access |= FI_REMOTE_READ | FI_REMOTE_WRITE; }
  // Keys are ours and never used twice: providers differ in what they make of the same key asked for again.
  int status = ::fi_mr_reg(domain_, data, bytes, access, 0, next_key_++, 0, &region, nullptr);
  if (status == 0 && (mr_mode_ & FI_MR_ENDPOINT) != 0) {
    status = ::fi_mr_bind(region, &endpoint_->fid, 0);
    if (status == 0) { status = ::fi_mr_enable(region); }
    if (status != 0) { ::fi_close(&region->fid); }
  }
  if (status != 0) {
    return library_->fail(HAL_UNAVAILABLE, status, fmt::format("{} bytes cannot be registered", bytes));
  }
  return region;
}

RemoteRegion Endpoint::describe(fid_mr* region, const void* data, std::size_t bytes) const {
  const bool by_address = (mr_mode_ & FI_MR_VIRT_ADDR) != 0;
  return {::fi_mr_key(region), by_address ? reinterpret_cast<std::uintptr_t>(data) : 0, bytes};
}

std::int64_t Endpoint::post(const EndpointRequest& r) {
  switch (r.kind) {
    case EndpointRequest::Kind::put: {
      // Complete only when the bytes are in the peer's memory, so that a point means what it says.
      iovec local{r.data, r.bytes};
      fi_rma_iov remote{r.remote_address, r.bytes, r.remote_key};
      fi_msg_rma message{};
      message.msg_iov = &local;
      message.desc = const_cast<void**>(&r.descriptor);
      message.iov_count = 1;
      message.addr = r.peer;
      message.rma_iov = &remote;
      message.rma_iov_count = 1;
      message.context = r.context;
      return ::fi_writemsg(endpoint_, &message, FI_DELIVERY_COMPLETE | FI_COMPLETION);
    }
    case EndpointRequest::Kind::get:
      return ::fi_read(endpoint_, r.data, r.bytes, r.descriptor, r.peer, r.remote_address, r.remote_key, r.context);
    case EndpointRequest::Kind::send:
      return ::fi_tsenddata(endpoint_, r.data, r.bytes, r.descriptor, r.stamp, r.peer, r.tag, r.context);
    case EndpointRequest::Kind::recv:
      return ::fi_trecv(endpoint_, r.data, r.bytes, r.descriptor, FI_ADDR_UNSPEC, r.tag, 0, r.context);
  }
  return -FI_EINVAL;
}

void Endpoint::cancel(fi_context2* context) { ::fi_cancel(&endpoint_->fid, context); }

bool Endpoint::poll(EndpointCompletion& out) {
  fi_cq_tagged_entry entry{};
  const ssize_t got = ::fi_cq_read(cq_, &entry, 1);
  if (got == 1) {
    out = {entry.op_context, 0, entry.len, (entry.flags & FI_REMOTE_CQ_DATA) != 0 ? entry.data : 0, {}};
    return true;
  }
  if (got != -FI_EAVAIL) { return false; }
  fi_cq_err_entry error{};
  std::array<char, 256> text{};
  if (::fi_cq_readerr(cq_, &error, 0) != 1) { return false; }
  const char* detail = ::fi_cq_strerror(cq_, error.prov_errno, error.err_data, text.data(), text.size());
  out = {error.op_context, error.err == 0 ? FI_EOTHER : error.err, error.len, 0, {}};
  try {
    out.detail = detail != nullptr ? detail : "";
  } catch (const std::bad_alloc&) {}  // the completion is worth more than its words
  return true;
}

bool Endpoint::may_sleep() {
  fid* queue = &cq_->fid;
  return ::fi_trywait(fabric_, &queue, 1) == 0;
}

}  // namespace hal::fabric
