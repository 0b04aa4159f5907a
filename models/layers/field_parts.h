/// Fields whose numbers may be complex, as the real tensors that they consist of. Everything at a point is computed on these; a spectral
/// convolution alone joins them.
#pragma once

#include <optional>
#include <vector>

#include "models/module.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/elementwise.h"

namespace trident {

/// The field itself, or its real and its imaginary part.
using Parts = std::vector<Tensor>;

template <class Function>
Parts for_each_part(const Parts& x, const Function& function) {
  Parts result;
  for (const Tensor& part : x) result.push_back(function(part));
  return result;
}

inline Parts sum_of(const Parts& a, const Parts& b) {
  Parts result;
  for (std::size_t i = 0; i < a.size(); ++i) result.push_back(a[i] + b[i]);
  return result;
}

inline Parts cast_parts(const Parts& x, DType dtype) {
  return for_each_part(x, [dtype](const Tensor& part) { return cast(part, dtype); });
}

/// The parts of a field, and the field of its parts. Complex numbers of bf16 do not exist: their parts are joined in f32.
inline Parts split(const Tensor& x) { return is_complex(x.dtype()) ? Parts{real(x), imag(x)} : Parts{x}; }
inline Tensor joined(const Parts& x) {
  if (x.size() == 1) return x[0];
  const DType part = parameter_type(x[0].dtype());
  return complex(cast(x[0], part), cast(x[1], part));
}

/// A module for real fields; or two of them, which stand for its action on a complex field: neuraloperator's ComplexValued.
template <class Module>
struct RealOrComplex {
  Module real;
  std::optional<Module> imaginary;

  static RealOrComplex make(bool complex, const Module& module) { return {module, complex ? std::optional(module) : std::nullopt}; }

  /// real(x), or (fr(re) - fi(im), fr(im) + fi(re)): also where fr and fi are not linear.
  template <class... Arguments>
  Parts operator()(const Parts& x, const Arguments&... arguments) const {
    if (!imaginary) return {real(x[0], arguments...)};
    const Tensor re_re = real(x[0], arguments...), im_im = (*imaginary)(x[1], arguments...);
    const Tensor re_im = real(x[1], arguments...), im_re = (*imaginary)(x[0], arguments...);
    return {re_re - im_im, re_im + im_re};
  }

  static void visit(auto& self, auto& v) {
    if (self.imaginary) {
      v("fr", self.real), v("fi", *self.imaginary);
    } else {
      v("", self.real);
    }
  }
};

}  // namespace trident
