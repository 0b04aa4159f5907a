#include "launch/trainer/not_finite.h"

#include <cmath>

#include "parallel/messages.h"
#include "runtime/error.h"
#include "runtime/ops/reduce.h"

namespace trident {
namespace {

constexpr std::size_t kNamed = 4;  // tensors; the others follow from them

}  // namespace

std::string bad_tensors(const ParameterList& parameters, double loss) {
  std::vector<std::string> found;
  for (const NamedPiece& piece : parameters.pieces()) {
    if (found.size() < kNamed && !all_finite(piece.value)) found.push_back(concat("weight \"", piece.name, "\""));
  }
  if (!std::isfinite(loss)) found.push_back(concat("its share of the loss is ", loss));
  for (const NamedPiece& piece : parameters.pieces()) {
    if (found.size() < kNamed && piece.gradient.defined() && !all_finite(piece.gradient)) {
      found.push_back(concat("gradient of \"", piece.name, "\""));
    }
  }
  std::string text;
  for (const std::string& what : found) text += (text.empty() ? "" : ", ") + what;
  return text;
}

std::string agreed_culprit(Communicator& world, const std::string& bad_here) {
  const std::vector<std::string> findings = gather_texts(world, bad_here);
  for (std::size_t rank = 0; rank < findings.size(); ++rank) {
    if (!findings[rank].empty()) return concat("first on rank ", rank, ": ", findings[rank]);
  }
  return "every rank's part is finite, their sum is not";
}

}  // namespace trident
