/// Carrying a plan out: differentiable, on the mesh's stream, over the ranks of domain_y x domain_x. Tensors are (samples, rows, columns,
/// numbers of a site). Every rank records the same operations, also with empty boxes. One rank: the same code, and nothing travels; a plan
/// that is the identity on all ranks returns its input.
#pragma once

#include <memory>

#include "parallel/exchange_plan.h"
#include "parallel/mesh.h"

namespace trident {

/// An exchange under way. The backward of finish() starts the way back and the backward of the start waits for it: what lies between them
/// hides the exchange in both directions.
class [[nodiscard]] Exchange {
 public:
  /// Throws ShapeError if x is not of the plan's source.
  Exchange(const Mesh& mesh, const ExchangePlan& plan, const Tensor& x);
  /// Once.
  Tensor finish() &&;

 private:
  struct Flight;
  static std::shared_ptr<Flight> launch(const Mesh& mesh, const ExchangePlan& plan, const Tensor& x);
  static Tensor land(Flight& flight);

  Mesh mesh_;
  ExchangePlan plan_;
  std::shared_ptr<Flight> flight_;
  std::shared_ptr<std::shared_ptr<Flight>> home_;  // of the gradient
  Tensor token_;                                   // joins the two nodes
};

/// Start and finish at once.
Tensor exchange(const Mesh& mesh, const ExchangePlan& plan, const Tensor& x);

}  // namespace trident
