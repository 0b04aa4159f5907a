/// Where a kernel puts what it computes.
#pragma once

namespace trident {

/// What becomes of the numbers that are where a sum goes.
enum class Sum { replaces, adds };

/// Numbers that a kernel computes. Null: nobody wants them.
template <class T>
struct Into {
  T* to = nullptr;
  Sum sum = Sum::replaces;

  /// What a product multiplies the numbers by that are there.
  double beta() const { return sum == Sum::adds ? 1.0 : 0.0; }
};

}  // namespace trident
