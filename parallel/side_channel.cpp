#include "parallel/side_channel.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "runtime/error.h"

namespace trident {
namespace {

constexpr int kBacklog = 4096;  // all ranks connect at once

void send_at_once(int descriptor) {
  const int on = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const timeval patience{.tv_sec = 5, .tv_usec = 0};  // a process that is stopped must not stop its peer
  setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

/// The IPv4 addresses of this host's interfaces that are up.
std::vector<std::string> own_addresses() {
  std::vector<std::string> found;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return found;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    std::array<char, NI_MAXHOST> text{};
    if (getnameinfo(one->ifa_addr, sizeof(sockaddr_in), text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0) continue;
    if (std::strncmp(text.data(), "127.", 4) != 0) found.emplace_back(text.data());
  }
  freeifaddrs(all);
  return found;
}

sockaddr_in address_of(const std::string& host, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

std::optional<Socket> connected(const std::string& host, int port, std::chrono::milliseconds patience) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_in address = address_of(host, port);
  const int descriptor = socket.descriptor();
  if (connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno != EINPROGRESS) return std::nullopt;
    pollfd waiting{.fd = descriptor, .events = POLLOUT, .revents = 0};
    if (poll(&waiting, 1, static_cast<int>(patience.count())) != 1) return std::nullopt;
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) return std::nullopt;
  }
  return socket;
}

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

Socket::~Socket() {
  if (descriptor_ >= 0) close(descriptor_);
}
Socket::Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

bool LineConnection::send(const std::string& line) {
  const std::string text = line + "\n";
  std::size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t count = ::send(descriptor(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      pollfd waiting{.fd = descriptor(), .events = POLLOUT, .revents = 0};
      if (poll(&waiting, 1, 5000) != 1) return false;
      continue;
    }
    if (count <= 0) return false;
    sent += static_cast<std::size_t>(count);
  }
  return true;
}

std::optional<std::vector<std::string>> LineConnection::receive() {
  std::array<char, 65536> bytes{};
  const ssize_t count = recv(descriptor(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) return std::nullopt;
  if (count > 0) buffer_.append(bytes.data(), static_cast<std::size_t>(count));
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t end = buffer_.find('\n'); end != std::string::npos; end = buffer_.find('\n', begin)) {
    lines.push_back(buffer_.substr(begin, end - begin));
    begin = end + 1;
  }
  buffer_.erase(0, begin);
  return lines;
}

HubListener::HubListener(bool one_host) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_in address = address_of(one_host ? "127.0.0.1" : "0.0.0.0", 0);
  socklen_t size = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  if (bind(descriptor(), any, size) != 0 || listen(descriptor(), kBacklog) != 0 || getsockname(descriptor(), any, &size) != 0) {
    throw CommunicationError(concat("job: cannot listen for the other ranks: ", std::strerror(errno), "; see the limits of this host"));
  }
  address_.port = ntohs(address.sin_port);
  if (!one_host) address_.hosts = own_addresses();
  address_.host_name = host_name();
  std::random_device random;
  address_.secret = concat(std::hex, random(), random(), random(), random());
}

std::optional<LineConnection> HubListener::accept() {
  Socket socket(accept4(descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
  if (socket.descriptor() < 0) return std::nullopt;
  send_at_once(socket.descriptor());
  return LineConnection(std::move(socket));
}

std::optional<LineConnection> connect_to(const HubAddress& address, std::chrono::milliseconds patience) {
  std::vector<std::string> hosts = address.hosts;
  if (hosts.empty() || address.host_name == host_name()) hosts.insert(hosts.begin(), "127.0.0.1");
  for (const std::string& host : hosts) {
    std::optional<Socket> socket = connected(host, address.port, patience);
    if (!socket) continue;
    send_at_once(socket->descriptor());
    LineConnection connection(std::move(*socket));
    if (connection.send(address.secret)) return connection;
  }
  return std::nullopt;
}

}  // namespace trident
