/// Lines of text between the ranks of a job beside MPI: TCP from every rank to a hub on rank 0. It answers while threads of a rank are
/// stuck in computing or in MPI, and its end tells that a process has ended.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace trident {

/// A file descriptor, closed with its owner.
class Socket {
 public:
  explicit Socket(int descriptor = -1) : descriptor_(descriptor) {}
  ~Socket();
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

/// One end of a connection. Sending may be done by several threads if the caller locks; receiving by one.
class LineConnection {
 public:
  explicit LineConnection(Socket socket) : socket_(std::move(socket)) {}
  int descriptor() const { return socket_.descriptor(); }
  /// False when the other end is gone.
  bool send(const std::string& line);
  /// What has arrived, without waiting, to be called when the descriptor is readable; nothing when the other end is gone.
  std::optional<std::vector<std::string>> receive();

 private:
  Socket socket_;
  std::string buffer_;
};

std::string host_name();

/// Where the hub can be reached.
struct HubAddress {
  std::vector<std::string> hosts;  // numeric, in the order to be tried
  int port = 0;
  std::string host_name;  // of rank 0: ranks of the same host use the loopback interface
  std::string secret;     // that a rank shows when it connects
};

/// Listens on all interfaces, or on the loopback interface if all ranks are on this host. Throws CommunicationError.
class HubListener {
 public:
  explicit HubListener(bool one_host);
  const HubAddress& address() const { return address_; }
  int descriptor() const { return socket_.descriptor(); }
  std::optional<LineConnection> accept();

 private:
  Socket socket_;
  HubAddress address_;
};

/// Nothing if no address of the hub answers in time.
std::optional<LineConnection> connect_to(const HubAddress& address, std::chrono::milliseconds patience);

}  // namespace trident
