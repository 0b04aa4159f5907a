/// Checks the data readers against folders laid out like those of goldens/pdegym: problems and chunks.
#pragma once

#include <filesystem>
#include <vector>

#include "tests/golden/check_row.h"

namespace trident {

/// `folder` holds problem.json (a case, or a concatenation of data sets) and samples.safetensors. Data files are looked for in `folder`,
/// then in `data_folders`.
CheckRows check_pdegym_problem(const std::filesystem::path& folder, const std::vector<std::filesystem::path>& data_folders);
/// `folder` holds chunks.json, samples.safetensors and the chunk files.
CheckRows check_pdegym_chunks(const std::filesystem::path& folder);
/// `file` is refused.json: what must be refused, and what must not.
CheckRows check_pdegym_refused(const std::filesystem::path& file, const std::vector<std::filesystem::path>& data_folders);

}  // namespace trident
