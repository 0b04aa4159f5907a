/// The update of AdamW on parts of flat buffers, and the norm that clips it.
#pragma once

#include <cstdint>

#include "runtime/kernels/dispatch.h"

namespace trident {

/// Elements [begin, end) of the flat buffers, which share the numbers of a group. One thread's or thread block's work.
struct FlatBlock {
  std::int64_t begin = 0, end = 0;
  std::int64_t place = 0;  // of the first element's first moment in its buffer; of the block's sum of squares
  std::int32_t group = 0;
  std::int32_t complex = 0;  // 1: pairs of re and im
  std::int64_t second = 0;   // of the first element's second moment in its buffer
};
/// A table of blocks, in memory of the device that works on them.
struct FlatBlocks {
  const FlatBlock* data = nullptr;
  std::int64_t count = 0;
};

struct AdamWGroup {
  double learning_rate = 0.0;
  double weight_decay = 0.0;
};

/// What all elements share in one update; in memory of the device, so that an update that is launched again reads new numbers.
struct AdamWStep {
  static constexpr int kMostGroups = 8;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double max_norm = 0.0;     // gradients are multiplied by min(1, max_norm / (norm + 1e-6)); 0: they are not
  double correction1 = 1.0;  // 1 - beta1^step
  double correction2 = 1.0;  // 1 - beta2^step
  AdamWGroup groups[kMostGroups];
};

/// The flat buffers of an update, in memory of the device.
template <class T>
struct AdamWBuffers {
  T* value = nullptr;
  const T* gradient = nullptr;
  T *first = nullptr, *second = nullptr;
  bf16* copy = nullptr;  // receives the new values, rounded to nearest even, at their places; may be null
};

/// value *= 1 - rate * decay; first = beta1 first + (1 - beta1) g; second = beta2 second + (1 - beta2) g^2;
/// value -= rate / correction1 * first / (sqrt(second / correction2) + eps), with the clipped gradient g.
/// `norm` is the gradients' global norm: if it is not finite nothing is written.
/// Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization"; torch.optim.AdamW, torch.nn.utils.clip_grad_norm_.
template <class T>
void adamw(Cpu, const AdamWStep* step, FlatBlocks, const double* norm, const AdamWBuffers<T>&);
template <class T>
void adamw(Cuda, const AdamWStep* step, FlatBlocks, const double* norm, const AdamWBuffers<T>&);

/// value -= rate sqrt(correction2) / correction1 * first / (sqrt(second) + eps), then value *= 1 - rate * decay, with the moments of
/// adamw() but for complex numbers: second = beta2 second + (1 - beta2) |g|^2 is one number for both parts. Source:
/// neuralop.training.AdamW.
template <class T>
void neuralop_adamw(Cpu, const AdamWStep* step, FlatBlocks, const double* norm, const AdamWBuffers<T>&);
template <class T>
void neuralop_adamw(Cuda, const AdamWStep* step, FlatBlocks, const double* norm, const AdamWBuffers<T>&);

/// sums[block.place] = the sum of the squares of the block, in f64; the order of additions depends on the block alone.
template <class T>
void sums_of_squares(Cpu, FlatBlocks, const T* x, double* sums);
template <class T>
void sums_of_squares(Cuda, FlatBlocks, const T* x, double* sums);

}  // namespace trident
