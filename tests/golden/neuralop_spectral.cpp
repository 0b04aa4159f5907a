/// The spectral convolution alone, and the ranks of factorisations.
#include <cmath>

#include "models/layers/spectral_conv.h"
#include "runtime/autograd/tape.h"
#include "runtime/tensor/create.h"
#include "tests/golden/neuralop.h"

namespace trident::golden {
namespace {

using ValueKind = ConfigValue::Kind;

std::string kind_of(const Folder& folder) {
  if (!folder.has("case.json")) return {};
  const ConfigValue document = folder.json("case.json");
  const ConfigValue* kind = document.kind() == ValueKind::map ? document.find("kind") : nullptr;
  return kind != nullptr && kind->kind() == ValueKind::string ? kind->as_string() : std::string{};
}

std::vector<std::int64_t> integers(const ConfigValue& list) {
  std::vector<std::int64_t> result;
  for (const ConfigValue& element : list.elements()) result.push_back(element.as_integer());
  return result;
}

RankChoice rank_of(const ConfigValue& value) {
  if (value.kind() == ValueKind::string) return 1.0;  // "same"
  if (value.kind() == ValueKind::integer) return value.as_integer();
  if (value.kind() == ValueKind::number) return value.as_number();
  return integers(value);
}

Factorization factorization_of(const ConfigValue& value) {
  if (value.kind() != ValueKind::string) return Factorization::dense;
  std::string name = value.as_string();
  for (char& c : name) c = static_cast<char>(std::tolower(c));
  return name == "tucker" ? Factorization::tucker
         : name == "cp"   ? Factorization::cp
         : name == "tt"   ? Factorization::tt
                          : Factorization::dense;
}

/// The reference's arguments; a failed row for what is not ours, set to anything but its default.
SpectralConvConfig config_of(const ConfigValue& arguments, Rows& rows) {
  SpectralConvConfig config;
  for (const auto& [key, value] : arguments.entries()) {
    if (key == "in_channels")
      config.in_channels = value.as_integer();
    else if (key == "out_channels")
      config.out_channels = value.as_integer();
    else if (key == "n_modes")
      config.n_modes = value.kind() == ValueKind::list ? integers(value) : std::vector{value.as_integer()};
    else if (key == "max_n_modes" && value.kind() == ValueKind::list)
      config.max_n_modes = integers(value);
    else if (key == "complex_data")
      config.complex_data = value.as_bool();
    else if (key == "separable")
      config.separable = value.as_bool();
    else if (key == "factorization")
      config.factorization = factorization_of(value);
    else if (key == "rank")
      config.rank = rank_of(value);
    else if (key == "fixed_rank_modes" && value.kind() == ValueKind::boolean)
      config.fixed_rank_modes = value.as_bool();
    else if (key == "implementation")
      config.implementation = value.as_string() == "factorized" ? Contraction::factorized : Contraction::reconstructed;
    else if (key == "bias")
      config.bias = value.as_bool();
    else if (key == "fno_block_precision" && value.as_string() != "full")
      rows.push_back(failed(key, "only full precision is computed"));
    else if (key == "fft_norm" && value.as_string() != "forward")
      rows.push_back(failed(key, "only the norm \"forward\" is computed"));
    else if (key == "resolution_scaling_factor" && value.kind() != ValueKind::null)
      rows.push_back(failed(key, "no check knows this"));
  }
  return config;
}

void check_pass(NeuralopCase& numbers, const SpectralConvConfig& config, DType dtype, const Options& options, Rows& rows) {
  SpectralConv conv(config, options.mesh);
  const ParameterList parameters =
      materialize([&](const ParameterVisitor& visitor) { walk(conv, visitor); }, dtype, Use::training, std::nullopt, {}, options.device);
  const Rows problems = load_weights(parameters, NumberFile(numbers.folder().path() / "weights.safetensors"));
  rows.insert(rows.end(), problems.begin(), problems.end());
  const auto given = [&](const char* name) { return in_precision(numbers.given(name), dtype, options.device); };
  const Tensor whole = given("input");
  const MeshCase on_mesh(options.mesh, whole);
  const Tensor input = leaf(on_mesh.part(whole)), output = conv(input, {}, {whole.shape().begin() + 2, whole.shape().end()});
  const Tensor share = share_of_loss(*numbers.document().find("loss"), {}, output, on_mesh.part(given("target")), on_mesh);
  reduced_backward(share, parameters, options.mesh);
  const double loss = summed(to_number(share), options.mesh);
  const Tensor found = on_mesh.whole_output(output), input_gradient = on_mesh.whole_input_gradient(gradient_of(input));
  const NumbersByName gradients = pieces_of(parameters, &NamedPiece::gradient, options.mesh);
  if (!on_mesh.is_first()) return;
  numbers.compare(rows, dtype, "output", all_numbers(found), numbers.distance("output"));
  numbers.compare(rows, dtype, "loss", {loss}, numbers.distance("loss"));
  numbers.compare(rows, dtype, "grad/input", all_numbers(input_gradient), numbers.distance("grad/input"));
  numbers.compare_gradients(rows, dtype, "grad/", gradients, {});
  std::int64_t count = 0;
  for (const NamedPiece& piece : parameters.pieces()) count += reals_in(piece.piece.full_shape, piece.piece.numbers);
  if (const ConfigValue* expected = numbers.document().find("parameters"); expected != nullptr && dtype == DType::f64) {
    rows.push_back({"parameters (difference)", std::fabs(static_cast<double>(count) - expected->as_number()), 0.0});
  }
}

/// The differences between ranks, and a note of what was recorded.
Row rank_row(const ConfigValue& row, const std::string& name, const std::vector<std::int64_t>& actual,
             const std::vector<std::int64_t>& expected) {
  double differences = actual.size() == expected.size() ? 0.0 : 1.0;
  for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) differences += actual[i] == expected[i] ? 0.0 : 1.0;
  return {concat(name, " of ", to_string(Shape(integers(*row.find("shape")))), " for ", to_json(*row.find("rank")), " (differences)"),
          differences, 0.0};
}

}  // namespace

bool matches_spectral_conv(const Folder& folder) { return kind_of(folder) == "spectral_conv"; }

Rows check_spectral_conv(Folder& folder, const Options& options) {
  NeuralopCase numbers(folder);
  Rows rows = unknown_keys(numbers.document(), {"kind", "model", "seed", "arguments", "input_shape", "output_shape", "loss", "loss_f32",
                                                "loss_f64", "parameters", "release_2.0.0_differs_by", "f32_vs_f64"});
  const SpectralConvConfig config = config_of(*numbers.document().find("arguments"), rows);
  numbers.given("output_release_2.0.0");
  if (const auto objection = objection_to_fields(numbers.given("input"), 1, options.mesh)) throw OnOneRank{*objection};
  for (const DType dtype : kNumberTypes) check_pass(numbers, config, dtype, options, rows);
  const Rows unused = numbers.unused();
  rows.insert(rows.end(), unused.begin(), unused.end());
  return rows;
}

bool matches_ranks(const Folder& folder) { return kind_of(folder) == "ranks"; }

Rows check_ranks(Folder& folder, const Options&) {
  const ConfigValue document = folder.json("case.json");
  Rows rows = unknown_keys(document, {"kind", "rows"});
  struct Column {
    const char* name;
    Factorization factorization;
    FirstRank first;
  };
  for (const ConfigValue& row : document.find("rows")->elements()) {
    const Rows unknown = unknown_keys(row, {"shape", "rank", "rank_type", "tucker", "tucker_fixed", "cp", "tt", "parameters_complex"});
    rows.insert(rows.end(), unknown.begin(), unknown.end());
    RankChoice rank = rank_of(*row.find("rank"));
    if (row.find("rank_type")->as_string() == "float") rank = row.find("rank")->as_number();
    for (const Column& column :
         {Column{"tucker", Factorization::tucker, FirstRank::chosen}, Column{"tucker_fixed", Factorization::tucker, FirstRank::fixed},
          Column{"cp", Factorization::cp, FirstRank::chosen}, Column{"tt", Factorization::tt, FirstRank::chosen}}) {
      const ConfigValue* recorded = row.find(column.name);
      if (recorded == nullptr) continue;
      std::vector<std::int64_t> expected =
          recorded->kind() == ConfigValue::Kind::list ? integers(*recorded) : std::vector{recorded->as_integer()};
      // With the reference's rank 0 of CP no layer can be built.
      if (column.factorization == Factorization::cp) expected[0] = std::max<std::int64_t>(expected[0], 1);
      rows.push_back(rank_row(row, column.name, choose_ranks(Shape(integers(*row.find("shape"))), column.factorization, rank, column.first),
                              expected));
    }
  }
  return rows;
}

}  // namespace trident::golden
