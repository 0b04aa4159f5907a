#!/usr/bin/env bash
# Two ranks of one thread against one rank of one thread: training steps of Poseidon-T at 128x128 with a global batch of 8, along each axis
# of the mesh. About two minutes on two idle cores. The row "apart" is what the machine allows: two processes that do not know of each
# other, each with half of the batch.
#   perf/scot_mesh.sh [STEPS [PROGRAM]]        (as root Open MPI wants OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)
set -euo pipefail
steps=${1:-8}
program=${2:-$(dirname "$0")/../build/release/perf/scot_mesh}
export OMP_NUM_THREADS=1
one_rank=

row() {  # NAME RANKS ARGUMENTS...
  local name=$1 ranks=$2 line
  shift 2
  line=$(mpirun --oversubscribe -n "$ranks" "$program" "$@" | grep '^{')
  number() { sed -n "s/.*\"$1\": \([-0-9.]*\).*/\1/p" <<<"$line"; }
  one_rank=${one_rank:-$(number fastest_seconds)}
  awk -v name="$name" -v ranks="$ranks" -v fastest="$(number fastest_seconds)" -v median="$(number median_seconds)" -v one="$one_rank" \
    -v computing="$(number computing)" -v others="$(number others)" -v exposed="$(number exposed)" -v waiting="$(number waiting)" \
    -v hidden="$(number hidden)" -v sent="$(number sent_bytes)" 'BEGIN {
      printf "| %-30s | %.3f | %.3f | %.2f | %.3f + %.3f | %.1f | %.1f | %.1f | %.1f %% | %.0f |\n", name, fastest, median, one / fastest / ranks,
             computing, others, exposed, waiting, hidden, 0.1 * exposed / median, sent / 1e6 }'
}

echo "| mesh | fastest s | median s | efficiency | CPU s of all ranks: computing + other threads | exposed ms | waiting ms | hidden ms | exposed of the step | sent MB |"
echo "|---|---|---|---|---|---|---|---|---|---|"
row "one rank" 1 1 1 1 1 128 8 "$steps"
row "apart" 2 1 1 1 1 128 4 "$steps" --apart
row "data 2" 2 2 1 1 1 128 8 "$steps"
row "data 2, sharded optimiser" 2 2 1 1 1 128 8 "$steps" --optimizer-sharding
row "domain_y 2" 2 1 2 1 1 128 8 "$steps"
row "domain_y 2, sharded optimiser" 2 1 2 1 1 128 8 "$steps" --optimizer-sharding
row "tensor 2" 2 1 1 1 2 128 8 "$steps"
row "tensor 2, sequence_parallel" 2 1 1 1 2 128 8 "$steps" --sequence-parallel
