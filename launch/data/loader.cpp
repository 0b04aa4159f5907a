#include "launch/data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "launch/data/epoch_order.h"
#include "launch/data/field_source.h"
#include "launch/data/reading_threads.h"
#include "launch/data/sample_exchange.h"
#include "launch/data/window_reader.h"
#include "parallel/range.h"
#include "runtime/device/cuda_device.h"
#include "runtime/device/cuda_driver.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// `dtype` is that of real numbers and of the parts of complex ones.
Tensor converted(const Tensor& x, DType dtype) {
  const DType wanted = is_complex(x.dtype()) ? complex_of(dtype) : dtype;
  if (wanted == x.dtype()) return x;
  const Tensor result = empty(x.shape(), wanted);
  copy_into(result, x);
  return result;
}

Shape mask_shape(const Dataset& dataset, std::int64_t batch, const Box& part) {
  if (dataset.mask() == Dataset::Mask::channels) return {batch, dataset.out_channels()};
  Shape shape{batch, 1};
  for (const Range& range : part) shape.push_back(range.size());
  return shape;
}

int reading_threads(const LoaderOptions& options) {
  constexpr int kMost = 8;
  return options.threads.value_or(options.device.kind == Device::Kind::cuda ? std::min(num_threads(), kMost) : 1);
}

/// The fields of `share` of the samples, and the times of all of them.
MicroBatch read_samples(const Dataset& dataset, std::vector<std::int64_t> samples, Range share, std::int64_t first_sample, const Box& part,
                        DType dtype, int threads) {
  const std::int64_t batch = share.size();
  const Tensor input = dataset.make_fields(batch, dataset.in_channels(), part);
  const Tensor label = dataset.make_fields(batch, dataset.out_channels(), part);
  const Tensor time = dataset.has_time() ? empty({static_cast<std::int64_t>(samples.size())}, DType::f32) : Tensor();
  const Tensor mask = dataset.mask() == Dataset::Mask::none ? Tensor() : empty(mask_shape(dataset, batch, part), DType::boolean);
  const std::int64_t mask_size = mask.defined() && batch > 0 ? mask.numel() / batch : 0;
  on_reading_threads(batch, threads, [&](std::int64_t k) {
    dataset.read(samples[static_cast<std::size_t>(share.first + k)], part,
                 {numbers_of(input, k), numbers_of(label, k), mask.defined() ? mask.data<bool>() + k * mask_size : nullptr});
  });
  for (std::size_t k = 0; time.defined() && k < samples.size(); ++k) {
    time.data<float>()[k] = static_cast<float>(*dataset.index(samples[k]).time);
  }
  MicroBatch result;
  result.fields = {.input = converted(input, dtype),
                   .time = time.defined() ? converted(time, dtype) : Tensor(),
                   .pixel_mask = mask,
                   .label = converted(label, dtype),
                   .ny = dataset.ny(),
                   .nx = dataset.nx()};
  result.first_sample = first_sample;
  result.samples = std::move(samples);
  return result;
}

}  // namespace

/// Brings what was read to the device, beside what that computes; used by the reading thread, which waits for it.
class Loader::Upload {
 public:
  Upload(Device device, int threads) : stream_(upload_stream(device)), threads_(threads) {}

  void operator()(GlobalBatch& batch) {
    std::vector<Tensor*> tensors;
    std::size_t bytes = 0;
    for (MicroBatch& part : batch.micro_batches) {
      for (Tensor* tensor : {&part.fields.input, &part.fields.time, &part.fields.pixel_mask, &part.fields.label}) {
        if (!tensor->defined()) continue;
        tensors.push_back(tensor);
        bytes += aligned(tensor->num_bytes());
      }
    }
    if (bytes > capacity_) staging_ = pinned_memory(bytes), capacity_ = bytes;
    auto* place = static_cast<std::byte*>(staging_.get());
    const CurrentStream here(stream_);
    for (Tensor* tensor : tensors) {
      const auto size = static_cast<std::size_t>(tensor->num_bytes());
      const Tensor there = empty(tensor->shape(), tensor->dtype(), stream_.device());
      if (size > 0) {
        copy(tensor->bytes(), size, place);
        cuda_driver::copy(there.bytes(), place, size, stream_.handle());
      }
      *tensor = there;
      place += aligned(there.num_bytes());
    }
    stream_.synchronize();
  }

 private:
  static std::size_t aligned(std::int64_t bytes) { return (static_cast<std::size_t>(bytes) + 255) / 256 * 256; }
  /// A core alone copies no faster than a GPU of small models asks for.
  void copy(const std::byte* from, std::size_t size, std::byte* to) const {
    constexpr std::size_t kPiece = std::size_t{1} << 20;
    on_reading_threads(static_cast<std::int64_t>((size + kPiece - 1) / kPiece), threads_, [&](std::int64_t piece) {
      const std::size_t first = static_cast<std::size_t>(piece) * kPiece;
      std::memcpy(to + first, from + first, std::min(kPiece, size - first));
    });
  }

  CudaStream& stream_;
  int threads_;
  std::shared_ptr<void> staging_;
  std::size_t capacity_ = 0;
};

/// The reading thread and the queue between it and next(). It alone touches `reading_`; the rest is behind the mutex.
class Loader::Prefetch {
 public:
  Prefetch(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options, LoaderPosition position)
      : dataset_(std::move(dataset)),
        options_(options),
        threads_(reading_threads(options)),
        order_(*dataset_, options.shuffle, options.seed),
        part_(options.part ? options.part(dataset_->extents()) : whole_box(dataset_->extents())),
        reading_(position),
        next_(position) {
    if (options.global_batch_size < 1 || options.micro_batches < 1 || options.batches_ahead < 1 || threads_ < 1) {
      throw ConfigError(concat("data: global batch size ", options.global_batch_size, ", micro-batches ", options.micro_batches,
                               ", batches ahead ", options.batches_ahead, ", reading threads ", threads_, "; all must be 1 or more"));
    }
    if (options.mesh && !options.patches && dataset_->is_resampled() && options.mesh->size(Axis::domain_y | Axis::domain_x) > 1) {
      const std::size_t axes = part_.size();
      exchange_.emplace(*options.mesh, Rectangle{.rows = axes > 1 ? part_[axes - 2] : Range{0, 1}, .columns = part_.back()},
                        static_cast<int>(axes));
      part_ = whole_box(dataset_->extents());
    }
    thread_ = std::thread([this] { read_ahead(); });
  }

  ~Prefetch() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  std::optional<GlobalBatch> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !queue_.empty() || finished_; });
    if (queue_.empty()) {
      if (error_) std::rethrow_exception(error_);
      return std::nullopt;
    }
    GlobalBatch batch = std::move(queue_.front());
    queue_.pop_front();
    next_ = after(next_);
    changed_.notify_all();
    lock.unlock();
    for (std::size_t part = 0; exchange_ && part < batch.micro_batches.size(); ++part) {
      MicroBatch& mine = batch.micro_batches[part];
      exchange_->complete(mine.fields, static_cast<std::int64_t>(mine.samples.size()));
    }
    return batch;
  }

  LoaderPosition position() const {
    const std::lock_guard lock(mutex_);
    return next_;
  }

  std::int64_t batches_per_epoch() const { return (order_.size() + options_.global_batch_size - 1) / options_.global_batch_size; }

 private:
  LoaderPosition after(LoaderPosition position) const {
    if (++position.batch == batches_per_epoch()) position = {position.epoch + 1, 0};
    return position;
  }

  void read_ahead() {
    set_num_threads(1);  // of this thread alone: a second pool would take the cores from the one that computes
    std::optional<Upload> upload;
    try {
      for (; !options_.epochs || reading_.epoch < *options_.epochs; reading_ = after(reading_)) {
        GlobalBatch batch = read_batch();
        if constexpr (build::kHasCuda) {
          if (options_.device.kind == Device::Kind::cuda) {
            if (!upload) upload.emplace(options_.device, threads_);
            (*upload)(batch);
          }
        }
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopped_ || queue_.size() < static_cast<std::size_t>(options_.batches_ahead); });
        if (stopped_) return;
        queue_.push_back(std::move(batch));
        changed_.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      error_ = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    finished_ = true;
    changed_.notify_all();
  }

  /// The patches that this rank has of a micro-batch: all ranks share its samples.
  MicroBatch read_patches_of(std::int64_t first, Range inside) const {
    const PatchGrid grid(*options_.patches, dataset_->ny(), dataset_->nx());
    MicroBatch result;
    result.first_sample = inside.first;
    for (std::int64_t k = inside.first; k < inside.last; ++k) result.samples.push_back(order_.sample(reading_.epoch, first + k));
    const Range units = part_of(inside.size() * grid.patches(), options_.num_ranks, options_.rank);
    result.fields = read_patches(*dataset_, grid, result.samples, units, options_.patch_windows, threads_);
    result.fields.input = converted(result.fields.input, options_.dtype);
    result.fields.label = converted(result.fields.label, options_.dtype);
    return result;
  }

  GlobalBatch read_batch() const {
    const std::int64_t first = reading_.batch * options_.global_batch_size;
    GlobalBatch result;
    result.size = std::min(options_.global_batch_size, order_.size() - first);
    for (int part = 0; options_.patches && part < options_.micro_batches; ++part) {
      result.micro_batches.push_back(read_patches_of(first, part_of(result.size, options_.micro_batches, part)));
    }
    if (options_.patches) return result;
    const Range mine = part_of(result.size, options_.num_ranks, options_.rank);
    for (int part = 0; part < options_.micro_batches; ++part) {
      const Range inside = part_of(mine.size(), options_.micro_batches, part);
      std::vector<std::int64_t> samples;
      for (std::int64_t k = mine.first + inside.first; k < mine.first + inside.last; ++k)
        samples.push_back(order_.sample(reading_.epoch, first + k));
      const Range share = exchange_ ? exchange_->share(inside.size()) : Range{0, inside.size()};
      result.micro_batches.push_back(
          read_samples(*dataset_, std::move(samples), share, mine.first + inside.first, part_, options_.dtype, threads_));
    }
    return result;
  }

  std::shared_ptr<const Dataset> dataset_;
  LoaderOptions options_;
  int threads_;
  EpochOrder order_;
  Box part_;  // that is read
  std::optional<SampleExchange> exchange_;
  LoaderPosition reading_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<GlobalBatch> queue_;
  LoaderPosition next_;
  std::exception_ptr error_;
  bool stopped_ = false, finished_ = false;
  std::thread thread_;
};

Loader::Loader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options, LoaderPosition position)
    : prefetch_(std::make_unique<Prefetch>(std::move(dataset), options, position)) {}
Loader::~Loader() = default;
std::optional<GlobalBatch> Loader::next() { return prefetch_->next(); }
LoaderPosition Loader::position() const { return prefetch_->position(); }
std::int64_t Loader::batches_per_epoch() const { return prefetch_->batches_per_epoch(); }

PartOfField part_of_model(const Model& model) {
  return [model](const Shape& extents) {
    const int axes = extents.rank();
    const Rectangle rectangle = model->rectangle(axes > 1 ? extents[axes - 2] : 1, extents[axes - 1]);
    return box_of(extents, rectangle);
  };
}

LoaderOptions shared_out(const Model& model, const Mesh& mesh) {
  constexpr AxisSet kBatchAxes = (Axis::data | Axis::domain_y) | Axis::domain_x;
  if (model->patching() && mesh.size(kBatchAxes) > 1) {
    return {.rank = mesh.comm(kBatchAxes).rank(), .num_ranks = mesh.size(kBatchAxes), .patches = model->patching()};
  }
  return {.rank = mesh.coordinate(Axis::data), .num_ranks = mesh.size(Axis::data), .part = part_of_model(model), .mesh = mesh};
}

}  // namespace trident
