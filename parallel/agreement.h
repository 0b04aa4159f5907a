/// Failures that one rank meets alone, made known to all before the next exchange: otherwise the others would wait in it.
#pragma once

#include <exception>
#include <functional>
#include <optional>

#include "parallel/communicator.h"

namespace trident {

/// Called by all ranks together, with what each has met or null. Returns if none has met anything; else throws on all: where it happened
/// the same exception, elsewhere one of its kind with the rank and its words.
using Agree = std::function<void(const std::exception_ptr& here)>;

/// Among the ranks of a communicator. Not while a stream communicates.
void agree_on_failure(Communicator& ranks, const std::exception_ptr& here);
/// Of one rank.
Agree agree_with_nobody();

/// The result of a stage that may fail on some ranks alone and does not communicate.
template <class Stage>
auto run_agreed(const Agree& agree, Stage stage) {
  std::optional<decltype(stage())> result;
  std::exception_ptr met;
  try {
    result = stage();
  } catch (...) {
    met = std::current_exception();
  }
  agree(met);
  return std::move(*result);
}

}  // namespace trident
