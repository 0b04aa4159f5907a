/// Memory of the host from the system, on huge pages: on ordinary ones a small model's step spends a twentieth of its time on finding
/// where its blocks lie.
#pragma once

#include <cstddef>

namespace trident {

inline constexpr std::size_t kHostAlignment = 64;  // bytes: a cache line and an AVX-512 register

/// A block of its own.
void* whole_host_memory(std::size_t bytes);  // null when there is none
void release_whole_host_memory(void* data);

/// The same, but small blocks are cut from larger ones, which go back to the system when all that was cut from them has been released.
void* host_memory(std::size_t bytes);
void release_host_memory(void* data, std::size_t bytes);

}  // namespace trident
