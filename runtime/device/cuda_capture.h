/// The calls of CUDA's runtime that capture graphs, beside those of cuda_driver.h. Not defined where a build has no CUDA, and not for the
/// emulated device, which captures nothing.
#pragma once

namespace trident::cuda_driver {

void begin_capture(void* stream);
/// Ends it, and returns what launch_graph() takes.
void* end_capture(void* stream);
/// Ends it after an error; throws nothing.
void abandon_capture(void* stream);
void launch_graph(void* graph, void* stream);
void destroy_graph(void* graph);

}  // namespace trident::cuda_driver
