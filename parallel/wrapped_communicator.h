/// A communicator of host tensors, and what is known of it, beside another way for device tensors.
#pragma once

#include <memory>
#include <utility>

#include "parallel/communicator.h"

namespace trident {

class WrappedCommunicator : public Communicator {
 public:
  explicit WrappedCommunicator(std::shared_ptr<Communicator> host) : host_(std::move(host)) {}
  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  const std::string& name() const override { return host_->name(); }
  void set_name(std::string name) override { host_->set_name(std::move(name)); }
  void set_timeout(double seconds) override { host_->set_timeout(seconds); }
  void set_patience(Patience patience) override { host_->set_patience(patience); }
  void set_watchdog(std::shared_ptr<Watchdog> watchdog) override { host_->set_watchdog(std::move(watchdog)); }
  std::unique_ptr<Communicator> host_lane() override { return host_->host_lane(); }
  std::int64_t bytes_sent() const override { return host_->bytes_sent(); }

 protected:
  Communicator& host() const { return *host_; }

 private:
  std::shared_ptr<Communicator> host_;
};

}  // namespace trident
