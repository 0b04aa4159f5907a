/// Fourier neural operators in one to three dimensions (Li et al. 2021), and their tensorised form (Kossaifi et al. 2024). Names, shapes
/// and arithmetic are neuraloperator's; docs/neural_operators.md says where they differ on purpose.
#pragma once

#include <string>
#include <vector>

#include "models/fno/fno_blocks.h"
#include "models/model.h"

namespace trident {

class Fno final : public ModelInterface {
 public:
  /// `type`: fno or tfno, which differ in the defaults of the configuration alone.
  Fno(FnoConfig config, std::string type, const Mesh& mesh) : Fno(std::move(config), std::move(type), mesh, mesh) {}
  /// `batch`: batch_norm's statistics are those of the samples of all its ranks.
  Fno(FnoConfig config, std::string type, const Mesh& mesh, const Mesh& batch);

  void visit(const ParameterVisitor& visitor) override;
  Prepared prepare() const override { return {}; }
  /// `hidden` receives the fields after lifting and after each block (real parts and imaginary parts apart).
  Tensor call(const Fields& fields, const Prepared& prepared, const Pass& pass, std::vector<Tensor>* hidden) const override;
  ConfigValue config() const override;
  std::string type() const override { return type_; }
  int num_channels() const override { return config_.in_channels; }
  int num_out_channels() const override { return config_.out_channels; }
  int num_dims() const override { return config_.num_dims(); }
  Rectangle rectangle(std::int64_t ny, std::int64_t nx) const override { return domain_.rectangle(ny, nx); }
  std::vector<std::int64_t> output_extents(const std::vector<std::int64_t>& extents) const override;
  bool uses_time() const override { return config_.norm == BlockNormKind::ada_in; }
  bool is_complex() const override { return config_.complex_data; }
  LossDescription loss() const override;
  double forward_flops(std::int64_t batch, const std::vector<std::int64_t>& extents) const override;

  static void visit(auto& self, auto& v) { v("fno_blocks", self.blocks_), v("lifting", self.lifting_), v("projection", self.projection_); }

 private:
  Parts parts_of(const Fields& fields, DType precision) const;
  FieldPlace place_of(const Fields& fields) const;
  double spectral_flops(std::int64_t batch, const std::vector<std::int64_t>& extents) const;
  std::vector<double> total_scaling() const;

  FnoConfig config_;
  std::string type_;
  Domain domain_;
  DomainPadding padding_;
  FnoBlocks blocks_;
  RealOrComplex<ChannelMlp> lifting_, projection_;
};

}  // namespace trident
