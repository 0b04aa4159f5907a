#!/usr/bin/env bash
# Tests, goldens and benchmarks of a bundle on a machine with a GPU, in under 9 minutes.
#
#     run.sh OUT [--poseidon FOLDER] [--seconds-left N]
#
# Runs beside bundle.tar.xz. OUT gets log, results.json (what ran, what failed, how long) and a JSON file of each benchmark; with the original
# scOT's FOLDER, or with pack_peer.sh's peer.tar.xz beside it, also peer.json: PyTorch on the same work in the same call. Exit code: 0 if all went
# well, 77 if there is no GPU.
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
# For our programs alone: the system's own do not start with other versions of their libraries.
ours=(env "LD_LIBRARY_PATH=$work/lib:$libraries:/usr/local/cuda/lib64:${LD_LIBRARY_PATH:-}")
export OPAL_PREFIX="$work/openmpi" PMIX_INSTALL_PREFIX="$work/openmpi/lib/x86_64-linux-gnu/pmix2" PATH="$work/bin:$work/openmpi/bin:$PATH"
# One host without ssh, perhaps a container that may not read other processes' memory.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_plm=isolated OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-8}"
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader || echo "run.sh: nvidia-smi says nothing"
version=$(cat "$work/version")
"${ours[@]}" golden_check --device cuda "$work/goldens/neuralop/fno_1d" > "$work/first" 2>&1
code=$?
if [ $code -eq 77 ]; then
  echo "run.sh: the programs of $version start, but find no CUDA device: nothing was run"
  printf '{"version": "%s", "not_run": "no CUDA device"}\n' "$version" > "$out/results.json"
  exit 77
elif [ $code -ne 0 ]; then
  cat "$work/first"
fi

failed=0
rows=""
run() { # NAME SECONDS COMMAND...: within the time that is left
  local name=$1 seconds=$2 left=$((limit - SECONDS + begin)) start=$SECONDS code
  shift 2
  if [ "$left" -le 5 ]; then
    echo "== $name: no time left"
    rows+="${rows:+, }{\"name\": \"$name\", \"ran\": false}"
    return
  fi
  echo "== $name"
  timeout "$((seconds < left ? seconds : left))" "$@"
  code=$?
  [ $code -eq 0 ] || { failed=$((failed + 1)); echo "== $name: FAILED, exit code $code"; }
  rows+="${rows:+, }{\"name\": \"$name\", \"ran\": true, \"exit\": $code, \"seconds\": $((SECONDS - start))}"
}
golden() { # NAME COMMAND...: shows what is not ok
  local name=$1
  shift
  run "golden_$name" 60 bash -c 'set -o pipefail; "$@" | { grep -vE " ok( |$)" || true; }' _ "$@"
}
benchmark() { # NAME SECONDS COMMAND...: its output is a JSON file
  local name=$1 seconds=$2
  shift 2
  run "$name" "$seconds" bash -c '"${@:2}" > "$1"' _ "$out/$name.json" "$@"
  [ ! -s "$out/$name.json" ] || cat "$out/$name.json"
}

check=("${ours[@]}" golden_check --device cuda --data "$work/goldens/data")
run cuda_test 90 "${ours[@]}" cuda_test --gtest_brief=1
run cuda_trainer_test 60 "${ours[@]}" cuda_trainer_test --gtest_brief=1
for kind in scot neuralop pdegym; do golden $kind "${check[@]}" "$work/goldens/$kind"; done
for more in "$work"/goldens/*-more; do
  [ ! -d "$more" ] || golden "$(basename "$more")" "${check[@]}" "$more"
done
# Two ranks on one GPU: through host memory.
golden two_ranks "${ours[@]}" mpirun -n 2 --oversubscribe golden_check --device cuda --mesh 2x1x1x1 "$work/goldens/scot"

[ ! -x "$work/bin/kernels_perf" ] || benchmark kernels 60 "${ours[@]}" kernels_perf
declare -A batches=([T]="16 64 256" [B]="16 128" [L]="16 64")
for model in T B L; do
  step=("${ours[@]}" scot_step training --device cuda --model $model --seconds 3)
  for batch in ${batches[$model]}; do benchmark "training_${model}_${batch}_bf16" 30 "${step[@]}" --precision bf16 --batch "$batch"; done
  benchmark "training_${model}_16_f32" 30 "${step[@]}" --precision f32 --batch 16
  benchmark "inference_${model}" 20 "${ours[@]}" scot_step inference --device cuda --precision bf16 --model $model --batch 1 --seconds 2
done
packages=""
if [ -e "$here/peer.tar.xz" ]; then
  mkdir "$work/peer"
  tar -C "$work/peer" -xJf "$here/peer.tar.xz"
  poseidon=${poseidon:-$work/peer/poseidon} packages=$work/peer/packages
fi
if [ -n "$poseidon" ]; then  # what PyTorch compiles is kept in $work
  benchmark peer 240 env "PYTHONPATH=$packages:${PYTHONPATH:-}" "TORCHINDUCTOR_CACHE_DIR=$work/inductor" \
    python3 "$here/peer.py" "$poseidon" --seconds 2
fi
printf '{"version": "%s", "failed": %d, "seconds": %d, "steps": [%s]}\n' "$version" "$failed" "$((SECONDS - begin))" "$rows" > "$out/results.json"
echo "run.sh: $failed failed, $((SECONDS - begin)) s; results in $out"
[ "$failed" -eq 0 ]
