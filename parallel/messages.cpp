#include "parallel/messages.h"

#include <cstring>
#include <numeric>

#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// Bytes travel as bool tensors: the one type of one byte.
Tensor bytes_of(const std::string& text) {
  const Tensor bytes = empty({static_cast<std::int64_t>(text.size())}, DType::boolean);
  if (!text.empty()) std::memcpy(bytes.bytes(), text.data(), text.size());
  return bytes;
}

std::string text_of(const Tensor& bytes, std::int64_t begin, std::int64_t size) {
  return size == 0 ? std::string() : std::string(reinterpret_cast<const char*>(bytes.bytes()) + begin, static_cast<std::size_t>(size));
}

}  // namespace

void barrier(Communicator& comm) { any_of(comm, false); }

bool any_of(Communicator& comm, bool here) {
  const Tensor flag = from_values<std::int64_t>({1}, std::vector<std::int64_t>{here ? 1 : 0});
  comm.all_reduce(flag, ReduceOp::max);
  return *flag.data<std::int64_t>() != 0;
}

std::string broadcast_text(Communicator& comm, const std::string& text, int root) {
  const Tensor size = from_values<std::int64_t>({1}, std::vector{static_cast<std::int64_t>(text.size())});
  comm.broadcast(size, root);
  const std::int64_t bytes = *size.data<std::int64_t>();
  const Tensor payload = comm.rank() == root ? bytes_of(text) : empty({bytes}, DType::boolean);
  comm.broadcast(payload, root);
  return text_of(payload, 0, bytes);
}

std::vector<std::string> gather_texts(Communicator& comm, const std::string& text) {
  const auto ranks = static_cast<std::size_t>(comm.size());
  const Tensor sizes = empty({comm.size()}, DType::i64);
  comm.all_gather(from_values<std::int64_t>({1}, std::vector{static_cast<std::int64_t>(text.size())}), sizes,
                  std::vector<std::int64_t>(ranks, 1));
  const std::vector<std::int64_t> counts = to_host<std::int64_t>(sizes);
  const Tensor all = empty({std::accumulate(counts.begin(), counts.end(), std::int64_t{0})}, DType::boolean);
  comm.all_gather(bytes_of(text), all, counts);
  std::vector<std::string> texts;
  std::int64_t begin = 0;
  for (const std::int64_t count : counts) {
    texts.push_back(text_of(all, begin, count));
    begin += count;
  }
  return texts;
}

}  // namespace trident
