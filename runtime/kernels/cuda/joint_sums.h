/// Sums that the blocks of one launch add up together.
///
/// Every block writes the sums of its own part of the numbers. Of kPartGroup blocks, whoever comes last adds their parts up, and of these
/// groups whoever comes last adds up theirs. Which block that is depends on chance; what it adds, and in which order, on the sizes alone.
///
/// Why the last one sees what the others wrote: behind a barrier of its block one thread passes a fence, counts the block, and passes
/// another; a second barrier lets the rest go on. That orders all writes of a block before its count, and the count that completes a group
/// before all reads of the block that found it, as barriers over a whole grid do. Parts are read past the multiprocessor's own cache
/// (__ldcg). Nobody waits for anybody.
///
/// Why the counters need no clearing: atomicInc takes the last block's count back to 0, where the next launch that has them wants it.
/// block_counters() gives none to two kernels that may run at once.
#pragma once

#include "runtime/device/block_counters.h"
#include "runtime/kernels/cuda/kernel.h"
#include "runtime/kernels/cuda/workspace.h"

namespace trident::cuda {

inline constexpr unsigned kPartGroup = 16;

/// Whether all other `count` - 1 blocks have come here, whose writes this one then sees. All threads of a block call it.
__device__ __forceinline__ bool is_last(unsigned* counter, unsigned count) {
  __shared__ unsigned before;
  __syncthreads();
  if (count == 1) return true;
  if (threadIdx.x == 0) {
    __threadfence();
    before = atomicInc(counter, count - 1);
    __threadfence();
  }
  __syncthreads();
  return before == count - 1;
}

/// `width` sums of each of `parts` blocks, for each of several sets of them.
template <class C>
struct JointSums {
  unsigned parts;
  std::int64_t width;
  C* memory;           // (sets, parts and then groups of them, width)
  unsigned* counters;  // (sets, groups and one more)

  __host__ __device__ unsigned groups() const { return divided_up(parts, kPartGroup); }
  __device__ C* part(std::int64_t set, unsigned part) const { return memory + (set * (parts + groups()) + part) * width; }
};

template <class C>
__device__ __forceinline__ C sum_of_parts(const C* from, unsigned parts, std::int64_t stride) {
  double sum = 0;
#pragma unroll 8
  for (unsigned part = 0; part < parts; ++part) sum += static_cast<double>(__ldcg(from + part * stride));
  return static_cast<C>(sum);
}

/// Where a block has written its part of a set: the last of all blocks calls finish(i, sum) for the `width` sums. All threads of the block
/// (in one dimension) call it.
template <class C, class Finish>
__device__ __forceinline__ void add_up(const JointSums<C>& sums, std::int64_t set, unsigned part, Finish finish) {
  const unsigned groups = sums.groups(), group = part / kPartGroup, first = group * kPartGroup, count = min(kPartGroup, sums.parts - first);
  unsigned* counters = sums.counters + set * (groups + 1);
  if (!is_last(counters + group, count)) return;
  C* together = sums.part(set, sums.parts + group);
  for (std::int64_t i = threadIdx.x; i < sums.width; i += blockDim.x) {
    const C sum = sum_of_parts(sums.part(set, first) + i, count, sums.width);
    if (groups == 1) {
      finish(i, sum);
    } else {
      together[i] = sum;
    }
  }
  if (groups == 1 || !is_last(counters + groups, groups)) return;
  for (std::int64_t i = threadIdx.x; i < sums.width; i += blockDim.x)
    finish(i, sum_of_parts(sums.part(set, sums.parts) + i, groups, sums.width));
}

/// Their memory, which the launch that uses it may outlive (workspace.h). One for a launch: all count with the same counters.
template <class C>
class JointMemory {
 public:
  JointMemory(Cuda device, std::int64_t sets, std::int64_t parts, std::int64_t width)
      : sums_{static_cast<unsigned>(parts), width, nullptr, nullptr},
        block_(workspace(device, static_cast<std::size_t>(sets * (parts + sums_.groups()) * width) * sizeof(C))) {
    sums_.memory = static_cast<C*>(block_.data());
    sums_.counters = block_counters(block_.device(), static_cast<std::size_t>(sets * (sums_.groups() + 1)));
  }
  const JointSums<C>& sums() const { return sums_; }

 private:
  JointSums<C> sums_;
  Block block_;
};

}  // namespace trident::cuda
