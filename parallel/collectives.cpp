#include "parallel/collectives.h"

#include <numeric>
#include <utility>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/kernels/wide.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

using Counts = std::vector<std::int64_t>;

/// x, or a copy of it in another number type.
Tensor in_type(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  const Tensor y = empty(x.shape(), dtype, x.device());
  copy_into(y, x);
  return y;
}

/// Behind all communication that is already under way, on this thread, which would only wait for another.
template <class Job>
void communicate(const Mesh& mesh, Job job) {
  mesh.stream().synchronize();
  job();
}

std::int64_t total(const Counts& counts) { return std::accumulate(counts.begin(), counts.end(), std::int64_t{0}); }

Shape with_rows(const Tensor& x, std::int64_t rows) {
  Shape shape = x.shape();
  shape[0] = rows;
  return shape;
}

Counts in_elements(Counts rows, const Tensor& x) {
  Shape row = x.shape();
  row[0] = 1;
  for (std::int64_t& count : rows) count *= numel(row);
  return rows;
}

void require_rows(const char* op, const Tensor& x, const Counts& counts, int ranks, std::int64_t rows) {
  if (static_cast<int>(counts.size()) != ranks) throw ShapeError(concat(op, ": ", counts.size(), " counts for ", ranks, " ranks"));
  if (x.rank() == 0 || x.size(0) != rows) {
    throw ShapeError(concat(op, ": tensor ", to_string(x.shape()), " has not the ", rows, " rows that the counts say"));
  }
}

/// bf16 is added up in f32.
Tensor summed(const Mesh& mesh, AxisSet axes, const Tensor& x) {
  const Tensor y = empty(x.shape(), wide(x.dtype()), x.device());
  copy_into(y, x);
  communicate(mesh, [y, &comm = mesh.comm(axes)] { comm.all_reduce(y, ReduceOp::sum); });
  return in_type(y, x.dtype());
}

Tensor gathered(const Mesh& mesh, AxisSet axes, const Tensor& x, const Counts& counts) {
  const Tensor y = empty(with_rows(x, total(counts)), x.dtype(), x.device());
  communicate(
      mesh, [y, source = packed(x), elements = in_elements(counts, x), &comm = mesh.comm(axes)] { comm.all_gather(source, y, elements); });
  return y;
}

Tensor scattered(const Mesh& mesh, AxisSet axes, const Tensor& x, const Counts& counts) {
  Communicator& comm = mesh.comm(axes);
  const Tensor source = packed(in_type(x, wide(x.dtype())));
  const Tensor y = empty(with_rows(x, counts[static_cast<std::size_t>(comm.rank())]), source.dtype(), x.device());
  communicate(mesh, [y, source, elements = in_elements(counts, x), &comm] { comm.reduce_scatter(source, y, elements); });
  return in_type(y, x.dtype());
}

Tensor exchanged(const Mesh& mesh, AxisSet axes, const Tensor& x, const Counts& send_counts, const Counts& receive_counts) {
  const Tensor y = empty(with_rows(x, total(receive_counts)), x.dtype(), x.device());
  communicate(mesh, [y, source = packed(x), sent = in_elements(send_counts, x), received = in_elements(receive_counts, x),
                     &comm = mesh.comm(axes)] { comm.all_to_all(source, sent, y, received); });
  return y;
}

}  // namespace

Tensor all_reduce_sum(const Mesh& mesh, AxisSet axes, const Tensor& x) {
  if (mesh.size(axes) == 1) return x;
  return record("all_reduce_sum", summed(mesh, axes, x), {x},
                [mesh, axes](const Tensor& dy, Wanted) { return std::vector{summed(mesh, axes, dy)}; });
}

void sum_in_place(const Mesh& mesh, AxisSet axes, const Tensor& x) {
  communicate(mesh, [x, &comm = mesh.comm(axes)] { comm.all_reduce(x, ReduceOp::sum); });
}

Tensor all_gather(const Mesh& mesh, AxisSet axes, const Tensor& x, const Counts& counts) {
  Communicator& comm = mesh.comm(axes);
  require_rows("all_gather", x, counts, comm.size(), counts.at(static_cast<std::size_t>(comm.rank())));
  return record("all_gather", gathered(mesh, axes, x, counts), {x},
                [mesh, axes, counts](const Tensor& dy, Wanted) { return std::vector{scattered(mesh, axes, dy, counts)}; });
}

Tensor reduce_scatter(const Mesh& mesh, AxisSet axes, const Tensor& x, const Counts& counts) {
  require_rows("reduce_scatter", x, counts, mesh.comm(axes).size(), total(counts));
  return record("reduce_scatter", scattered(mesh, axes, x, counts), {x},
                [mesh, axes, counts](const Tensor& dy, Wanted) { return std::vector{gathered(mesh, axes, dy, counts)}; });
}

Tensor all_to_all(const Mesh& mesh, AxisSet axes, const Tensor& x, const Counts& send_counts, const Counts& receive_counts) {
  require_rows("all_to_all", x, send_counts, mesh.comm(axes).size(), total(send_counts));
  return record("all_to_all", exchanged(mesh, axes, x, send_counts, receive_counts), {x},
                [mesh, axes, send_counts, receive_counts](const Tensor& dy, Wanted) {
                  return std::vector{exchanged(mesh, axes, dy, receive_counts, send_counts)};
                });
}

Tensor broadcast(const Mesh& mesh, AxisSet axes, const Tensor& x, int root) {
  const Tensor y = empty(x.shape(), x.dtype(), x.device());
  copy_into(y, x);
  communicate(mesh, [y, root, &comm = mesh.comm(axes)] { comm.broadcast(y, root); });
  return record("broadcast", y, {x}, [mesh, axes, root](const Tensor& dy, Wanted) {
    const Tensor sum = summed(mesh, axes, dy);
    return std::vector{mesh.comm(axes).rank() == root ? sum : zeros_like(sum)};
  });
}

}  // namespace trident
