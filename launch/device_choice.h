/// Which device this rank computes on.
#pragma once

#include "launch/command_context.h"
#include "models/module.h"

namespace trident {

/// The GPU of this rank's number on its host, counted around where ranks are more than GPUs: those share one. Throws ConfigError where this
/// build or host has none. Collective over the host's ranks.
Device device_of_rank(DeviceChoice choice, CommandContext& context);
/// What --device and --precision say; the host and f32 where they say nothing.
Computing computing_of(CommandContext& context);

}  // namespace trident
