#!/usr/bin/env bash
# Tests, goldens and benchmarks of a bundle on a machine with a GPU, in under 9 minutes.
#
#     run.sh OUT [--poseidon FOLDER] [--seconds-left N]
#
# Runs beside bundle.tar.xz. OUT gets log, results.json (what ran, what failed, how long) and a JSON file of each benchmark; with the original
# scOT's FOLDER also peer.json: PyTorch on the same work in the same call.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,7p' "$0" >&2; exit 2; }
out=$1 poseidon="" limit=530
shift
while [ $# -gt 0 ]; do
  case $1 in
    --poseidon) poseidon=$2 ;;
    --seconds-left) limit=$2 ;;
    *) echo "run.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
mkdir -p "$out" && out=$(cd "$out" && pwd)
begin=$SECONDS
exec > >(tee "$out/log") 2>&1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C "$work" -xJf "$here/bundle.tar.xz"

# CUDA's libraries as Python packages: each in a folder of its own, or all in one.
libraries=$(python3 - <<'PYTHON'
import glob, os, site, sys
roots = site.getsitepackages() + [site.getusersitepackages()] + sys.path
found = []
for root in roots:
    found += glob.glob(os.path.join(root, "nvidia", "*", "lib"))
print(":".join(dict.fromkeys(found)))
PYTHON
)
export LD_LIBRARY_PATH="$work/lib:$libraries:/usr/local/cuda/lib64:${LD_LIBRARY_PATH:-}"
export OPAL_PREFIX="$work/openmpi" PMIX_INSTALL_PREFIX="$work/openmpi/lib/x86_64-linux-gnu/pmix2" PATH="$work/bin:$work/openmpi/bin:$PATH"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-8}"
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader || echo "run.sh: nvidia-smi says nothing"

failed=0
rows=""
run() { # NAME SECONDS COMMAND...: within the time that is left
  local name=$1 seconds=$2 left=$((limit - SECONDS + begin)) start=$SECONDS code
  shift 2
  if [ "$left" -le 5 ]; then
    echo "== $name: no time left" && rows+="${rows:+, }{\"name\": \"$name\", \"ran\": false}" && return 1
  fi
  echo "== $name"
  timeout "$((seconds < left ? seconds : left))" "$@"
  code=$?
  [ $code -eq 0 ] || failed=$((failed + 1))
  rows+="${rows:+, }{\"name\": \"$name\", \"ran\": true, \"exit\": $code, \"seconds\": $((SECONDS - start))}"
  return $code
}
benchmark() { # NAME SECONDS COMMAND...: its output is a JSON file
  local name=$1 seconds=$2
  shift 2
  run "$name" "$seconds" bash -c '"${@:2}" > "$1"' _ "$out/$name.json" "$@"
  cat "$out/$name.json" 2>/dev/null
}

for test in "$work"/bin/*_test; do
  name=$(basename "$test")
  case $name in gradient_test | exchange_test) continue ;; esac
  run "$name" 60 "$test" --gtest_brief=1
done
for kind in scot neuralop pdegym; do
  run "golden_$kind" 60 golden_check --device cuda --data "$work/goldens/data" "$work/goldens/$kind" 2>&1 | grep -vE ' ok$'
done
for more in "$work"/goldens/*-more; do
  [ ! -d "$more" ] || run "golden_$(basename "$more")" 60 golden_check --device cuda --data "$work/goldens/data" "$more" | grep -vE ' ok$'
done
# Two ranks on one GPU: through host memory.
run golden_two_ranks 60 mpirun -n 2 --oversubscribe golden_check --device cuda --mesh 2x1x1x1 --data "$work/goldens/data" "$work/goldens/scot" | grep -vE ' ok$'

for model in T B L; do
  for batch in 16 64; do
    benchmark "training_${model}_${batch}_bf16" 30 scot_step training --device cuda --precision bf16 --model $model --batch $batch --seconds 3
  done
  benchmark "training_${model}_16_f32" 30 scot_step training --device cuda --precision f32 --model $model --batch 16 --seconds 3
  benchmark "inference_${model}" 20 scot_step inference --device cuda --precision bf16 --model $model --batch 1 --seconds 2
done
if [ -n "$poseidon" ]; then
  benchmark peer 150 python3 "$here/peer.py" "$poseidon" --seconds 3
fi
printf '{"version": "%s", "failed": %d, "seconds": %d, "steps": [%s]}\n' "$(cat "$work/version")" "$failed" "$((SECONDS - begin))" "$rows" > "$out/results.json"
echo "run.sh: $failed failed, $((SECONDS - begin)) s; results in $out"
[ "$failed" -eq 0 ]
