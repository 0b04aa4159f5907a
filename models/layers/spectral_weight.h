/// The learned tensor of a spectral convolution, whole or factorised; names and shapes of neuraloperator and tensorly-torch.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "models/module.h"
#include "runtime/ops/contraction.h"
#include "runtime/ops/fourier.h"

namespace trident {

/// dense: `tensor`. tucker: `core`, `factors.factor_k` (I_k, R_k). cp: `weights` (R,), `factors.factor_k` (I_k, R).
/// tt: `factors.factor_k` (R_k, I_k, R_{k+1}) with R_0 = R_last = 1.
enum class Factorization { dense, tucker, cp, tt };

/// A double is the share of the dense tensor's parameters ("same" is 1.0); an integer is the rank of every mode; a list is the ranks
/// themselves (tucker: one a mode; tt: one more, 1 at both ends; cp: one).
using RankChoice = std::variant<double, std::int64_t, std::vector<std::int64_t>>;
enum class FirstRank { chosen, fixed };  // fixed: tucker keeps the first mode's rank at its extent

/// The ranks that tensorly chooses: tucker one a mode, cp one (at least 1), tt one more than modes, dense none.
/// Throws ConfigError for a rank that does not fit.
std::vector<std::int64_t> choose_ranks(const Shape& shape, Factorization factorization, const RankChoice& rank,
                                       FirstRank first = FirstRank::chosen);

enum class Contraction { factorized, reconstructed };  // factors with the field one after another, or the dense tensor first
enum class Channels { mixed, separate };               // weights (in, out, modes...), or one (channel, modes...) for each channel

/// A complex tensor of modes. The ranks of the tensor axis share out its (input) channels, those of the domain axes the modes of its last
/// dimension; core, ranks and the factors of other dimensions are on all of them.
class SpectralWeight {
 public:
  struct Description {
    Shape shape;  // (in, out, modes...) or (channel, modes...), as the reference stores it dense
    Factorization factorization = Factorization::dense;
    RankChoice rank = 1.0;
    FirstRank first_rank = FirstRank::chosen;
    Contraction contraction = Contraction::factorized;
    Channels channels = Channels::mixed;
    double deviation = 1.0;  // sqrt(mean |entry|^2) of the tensor at the start, as the reference initialises factors for it
  };
  SpectralWeight(const Description& description, const Mesh& mesh);

  /// The channels, and of the modes of the last dimension in `kept` those, that each rank has; `kept` counts the tensor's modes.
  Range own_channels() const { return owned_.front(); }
  std::vector<Range> shares(const Range& kept) const;

  /// How x's modes lie best.
  ModeOrder order() const;
  /// Sums over the input channels at every mode: x (batch, in, modes...) -> (batch, out, modes...), modes being `kept` of the tensor's: of
  /// the last dimension those that this rank has. Over the tensor axis: an addend of the sum.
  Tensor operator()(const Tensor& x, const std::vector<Range>& kept) const;

  /// Of the products of operator() with a batch of fields on one rank, `kept` being how many modes of each dimension there are.
  double flops(std::int64_t batch, const std::vector<std::int64_t>& kept) const;

  static void visit(auto& self, auto& v) {
    for (auto& part : self.parts_) v(part.name, part.parameter);
  }

 private:
  struct Part {
    std::string name;
    Parameter parameter;
  };

  std::vector<Operand> operands(const std::string& labels, const std::vector<Range>& kept) const;

  /// The part `name` with `shape` in which dimension `dim_of_part` is dimension `dim` of the weight; -1: none is.
  void add(const std::string& name, const Shape& shape, Init init, int dim_of_part = -1, int dim = -1);
  void add_dense(Init init);

  Description description_;
  Mesh mesh_;
  std::vector<Range> owned_;  // per dimension of the weight
  std::vector<Part> parts_;
};

}  // namespace trident
