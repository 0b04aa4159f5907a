/// Streams, events and captures of the emulated device. Work runs at once, in the order in which it is put on any stream; what is put on a
/// stream that is captured runs when the graph is launched, with the addresses and numbers that it was given then. What a GPU refuses is
/// refused: DeviceError.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace trident::emulation {

using Work = std::function<void()>;
/// A part of a graph, and what a GPU would launch for it: nothing for what only the emulation does.
struct Piece {
  Work work;
  std::string launch;
};

/// This thread's device. Work goes to streams of it alone.
void choose_device(int device);

/// Runs `work` behind what is on `stream` (null: at once, on any device), or keeps it for the graph, as `launch`.
void submit(void* stream, const std::string& launch, Work work);
/// Memory of a graph comes out of its cache when the graph runs, too.
void submit_reuse(void* data, std::size_t bytes);
bool is_captured(void* stream);

void* create_stream(int device);
void destroy_stream(void* stream);
void synchronize(void* stream);
void* create_event(int device);
void destroy_event(void* event);
void record(void* event, void* stream);
void wait(void* stream, void* event);
/// Whether or until it has happened: it has.
void ask(void* event);

/// What `work` puts on `stream`, and on streams that it orders behind it and back.
std::vector<Piece> capture(void* stream, const Work& work);

}  // namespace trident::emulation
