/// Small facts that ranks tell each other: texts, counts, agreement. Not for tensors of a model; not while a stream communicates.
#pragma once

#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace trident {

/// Returns when all ranks have come here.
void barrier(Communicator& comm);
/// Whether any rank says so.
bool any_of(Communicator& comm, bool here);
/// The text of rank `root`, on all ranks.
std::string broadcast_text(Communicator& comm, const std::string& text, int root);
/// The texts of all ranks in rank order, on all ranks.
std::vector<std::string> gather_texts(Communicator& comm, const std::string& text);

}  // namespace trident
