/// How an operation tells a kernel where a gradient goes.
#pragma once

#include "runtime/autograd/tape.h"
#include "runtime/kernels/into.h"

namespace trident {

template <class T>
Into<T> into(const GradientPlace& place) {
  return {place.to.defined() ? place.to.data<T>() : nullptr, place.adds ? Sum::adds : Sum::replaces};
}

}  // namespace trident
