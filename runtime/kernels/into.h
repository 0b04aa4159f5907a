/// Where a kernel puts what it computes.
#pragma once

namespace trident {

/// What becomes of the numbers that are where a sum goes.
enum class Sum { replaces, adds };

/// Null: nobody wants them.
template <class T>
struct Into {
  T* to = nullptr;
  Sum sum = Sum::replaces;
};

}  // namespace trident
