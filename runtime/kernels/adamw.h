/// The update of AdamW on parts of flat buffers, and the norm that clips it.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/kernels/dispatch.h"

namespace trident {

/// Elements [begin, end) of the flat buffers, which share the numbers of a group. One thread's work.
struct FlatBlock {
  std::int64_t begin = 0, end = 0;
  int group = 0;
  std::int64_t moments = 0;  // place of the first element's moments in their buffers
  bool complex = false;      // pairs of re and im
};

struct AdamWGroup {
  double learning_rate = 0.0;
  double weight_decay = 0.0;
};

/// What all elements share in one update.
struct AdamWStep {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double max_norm = 0.0;     // gradients are multiplied by min(1, max_norm / (norm + 1e-6)); 0: they are not
  double correction1 = 1.0;  // 1 - beta1^step
  double correction2 = 1.0;  // 1 - beta2^step
};

/// value *= 1 - rate * decay; first = beta1 first + (1 - beta1) g; second = beta2 second + (1 - beta2) g^2;
/// value -= rate / correction1 * first / (sqrt(second / correction2) + eps), with the clipped gradient g.
/// `norm` is the gradients' global norm: if it is not finite nothing is written.
/// Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization"; torch.optim.AdamW, torch.nn.utils.clip_grad_norm_.
template <class T>
void adamw(Cpu, const AdamWStep& step, std::span<const AdamWGroup> groups, std::span<const FlatBlock> blocks, const double* norm, T* value,
           const T* gradient, T* first, T* second);
template <class T>
void adamw(Cuda, const AdamWStep& step, std::span<const AdamWGroup> groups, std::span<const FlatBlock> blocks, const double* norm, T* value,
           const T* gradient, T* first, T* second);

/// value -= rate sqrt(correction2) / correction1 * first / (sqrt(second) + eps), then value *= 1 - rate * decay, with the moments of adamw()
/// but for complex numbers: second = beta2 second + (1 - beta2) |g|^2 is theirs together (its imaginary part 0).
/// Source: neuralop.training.AdamW.
template <class T>
void neuralop_adamw(Cpu, const AdamWStep& step, std::span<const AdamWGroup> groups, std::span<const FlatBlock> blocks, const double* norm,
                    T* value, const T* gradient, T* first, T* second);
template <class T>
void neuralop_adamw(Cuda, const AdamWStep& step, std::span<const AdamWGroup> groups, std::span<const FlatBlock> blocks, const double* norm,
                    T* value, const T* gradient, T* first, T* second);

/// sums[i] = the sum of the squares of block i, in f64; the order of additions depends on the block alone.
template <class T>
void sums_of_squares(Cpu, std::span<const FlatBlock> blocks, const T* x, double* sums);
template <class T>
void sums_of_squares(Cuda, std::span<const FlatBlock> blocks, const T* x, double* sums);

}  // namespace trident
