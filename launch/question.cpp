#include "launch/question.h"

#include <memory>

#include "launch/data/dataset.h"
#include "launch/data/field_source.h"
#include "models/normalization.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

/// A tensor that has extents and a type, but no memory for its numbers.
Tensor described_tensor(const Shape& shape, DType dtype) { return view::broadcast_to(zeros({1}, dtype), shape); }

/// One frame of a data set as physical fields with all input channels of the problem: (1, channel, y, x).
Question question_on_frame(const QuestionOptions& options, Problem problem) {
  const std::vector<Channel> channels = problem.input;
  const auto dataset = std::make_shared<const Dataset>(
      open_frames(std::move(problem), options.input, *options.trajectory, {{options.frame, options.frame}}));
  Question question;
  Shape shape{1, dataset->in_channels()};
  for (const std::int64_t extent : dataset->extents()) shape.push_back(extent);
  question.request.input = described_tensor(shape, dataset->is_complex() ? DType::c64 : DType::f32);
  const auto read = [dataset, channels](const FieldPieces& pieces) {
    const Tensor input =
        dataset->make_fields(rows_of(pieces), dataset->in_channels(), box_of(dataset->extents(), pieces.front().rectangle));
    std::int64_t row = 0;
    for (const FieldPiece& piece : pieces) {
      if (piece.samples.size() == 0) continue;
      dataset->read_input(0, {.part = box_of(dataset->extents(), piece.rectangle)}, numbers_of(input, row++));
    }
    return denormalize(input, channels, dataset->extents().rank());
  };
  question.read = [read](const FieldPieces& pieces, int, bool) { return read(pieces); };
  question.read_all = [read, dataset] { return read({{.samples = {0, 1}, .rectangle = {{0, dataset->ny()}, {0, dataset->nx()}}}}); };
  return question;
}

/// The tensors of a file.
Question question_of_file(const QuestionOptions& options) {
  const auto file = std::make_shared<const FieldFileReader>(options.input);
  const auto input = file->find("input");
  if (!input) {
    throw DataError(
        concat(options.input, ": has no tensor \"input\" (batch, channel, space...); of a data set choose --trajectory and --frame"));
  }
  Question question;
  question.request.input = described_tensor(input->shape, input->dtype);
  question.request.time = file->read("time");
  question.request.pixel_mask = file->read("pixel_mask");
  question.read_all = [file] { return file->read("input"); };
  question.read = [file, input = *input](const FieldPieces& pieces, int num_dims, bool pairs) {
    Shape shape = extents_of(box_of(pieces.front(), input.shape, num_dims, pairs));
    shape[0] = rows_of(pieces);
    const Tensor all = empty(shape, input.dtype);
    std::int64_t begin = 0;
    for (const FieldPiece& piece : pieces) {
      const std::int64_t end = begin + piece.samples.size();
      copy_into(view::slice(all, 0, begin, end), file->read("input", box_of(piece, input.shape, num_dims, pairs)));
      begin = end;
    }
    return all;
  };
  return question;
}

}  // namespace

Question ask(const QuestionOptions& options, const ModelDescription& description) {
  if (options.trajectory && options.problem.empty()) {
    throw ConfigError("--trajectory: the input is then a data set, and --problem says what its fields are");
  }
  const auto problem = options.problem.empty() ? std::nullopt : std::optional(problem_named(description, options.problem));
  Question question = options.trajectory ? question_on_frame(options, *problem) : question_of_file(options);
  question.problem = problem;
  const Tensor& input = question.request.input;
  question.request.problem = options.problem;
  question.request.steps = options.steps;
  const DType number_type = real_of(input.dtype()) == DType::f64 ? DType::f64 : DType::f32;
  if (options.time && input.rank() > 0) question.request.time = full({input.size(0)}, *options.time, number_type);
  return question;
}

}  // namespace trident
