/// A plan for people and for programs.
#pragma once

#include <iosfwd>

#include "launch/plan/search.h"

namespace trident {

enum class Rows { best, all };
void print(std::ostream& out, const PlannedRun& planned, const Plan& plan, const Machine& machine, Rows rows);
/// Everything, as one JSON object.
ConfigValue document_of(const PlannedRun& planned, const Plan& plan, const Machine& machine);

/// "data 1 x ... with ... needs 93 GiB, of which ..., and 72 GiB can be used", for errors.
std::string needed_memory(const PlannedMesh& mesh, const Machine& machine);
/// What would make it fit.
std::string way_to_fit(const PlannedRun& planned, const PlannedMesh& mesh, const Machine& machine);

}  // namespace trident
