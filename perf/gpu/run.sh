#!/usr/bin/env bash
# Tests, goldens and benchmarks of a bundle on a machine with a GPU, in under 9 minutes.
#
#     run.sh OUT [--only "PART ..."] [--poseidon FOLDER] [--seconds-left N]
#
# Runs beside bundle.tar.xz. PARTs are races, tests, goldens, kernels, steps, peer and sanitizer, by default all, in that order. Each of
# their programs has a time limit of its own, and tests that fail are run again one by one, so that a crash or a hang loses nothing but
# itself.
# OUT gets, as they come: log, results.json (what ran, what failed, how long, and how many times faster a step is than the peer's), failures
# (the first lines of each, which also end the log), benchmarks.jsonl and, with the original scOT's FOLDER or pack_peer.sh's peer.tar.xz,
# peer.jsonl: PyTorch on the same work in the same call. Exit code: 0 if all went well, 77 if there is no GPU.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
usage() {
  sed -n '2,11p' "$0" >&2
  exit 2
}
[ $# -ge 1 ] || usage
out=$1 only="races tests goldens kernels steps peer sanitizer" poseidon="" limit=530
shift
while [ $# -gt 1 ]; do
  case $1 in
    --only) only=$2 ;;
    --poseidon) poseidon=$2 ;;
    --seconds-left) limit=$2 ;;
    *) usage ;;
  esac
  shift 2
done
[ $# -eq 0 ] || usage
mkdir -p "$out" && out=$(cd "$out" && pwd)
begin=$SECONDS
exec > >(tee "$out/log") 2>&1
log=$!
work=$(mktemp -d)
trap 'rm -rf "$work"; exec >&- 2>&-; wait $log' EXIT  # whoever started this may end what is left of it
mkdir "$work/output"
unpack() { # ARCHIVE FOLDER: without xz by Python
  tar -C "$2" -xJf "$1" || python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="tar")' "$1" "$2"
}
unpack "$here/bundle.tar.xz" "$work"

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
export OPAL_PREFIX="$work/openmpi" PMIX_INSTALL_PREFIX="$work/openmpi/lib/x86_64-linux-gnu/pmix2"
export PATH="$work/bin:$work/openmpi/bin:$PATH:/usr/local/cuda/bin"
# One host without ssh, perhaps a container that may not read other processes' memory.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_plm=isolated OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-8}"
timeout -k 5 20 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader || echo "run.sh: nvidia-smi says nothing"
version=$(cat "$work/version")

failed=0
rows=""
compared() { # the steps of neural operators that benchmarks.jsonl and peer.jsonl both have
  python3 - "$out" <<'PYTHON'
import json, os, sys
def rows(name):
    path = os.path.join(sys.argv[1], name)
    for line in open(path) if os.path.exists(path) else []:
        try:
            row = json.loads(line)
        except ValueError:  # not ours, or cut off
            continue
        if isinstance(row, dict) and "case" in row and "seconds_per_step" in row:
            yield row
ours = {(row["case"], row["precision"]): row["seconds_per_step"] for row in rows("benchmarks.jsonl")}
print(json.dumps([{"case": case, "precision": precision, "seconds_per_step": seconds, "peer": f"neuraloperator {row['how']} f32",
                   "peer_seconds_per_step": row["seconds_per_step"], "times_faster": round(row["seconds_per_step"] / seconds, 2)}
                  for (case, precision), seconds in ours.items() for row in rows("peer.jsonl") if row["case"] == case]))
PYTHON
}
write_results() {
  printf '{"version": "%s", "failed": %d, "seconds": %d, "steps": [%s], "compared": %s}\n' \
    "$version" "$failed" "$((SECONDS - begin))" "$rows" "$(compared || echo '[]')" > "$out/results.json"
}
note_failure() { # NAME CODE FILE: its first lines that speak of a failure, or its last
  local said
  said=$(grep -nEi -m 12 'fail|error|invalid|hazard|not ok|no CUDA|terminate|signal' "$3" | cut -c1-300)
  printf '%s: exit code %s\n%s\n\n' "$1" "$2" "${said:-$(tail -n 5 "$3" | cut -c1-300)}" >> "$out/failures"
}
within() { # SECONDS FILE COMMAND...: what does not listen when its time is up is killed, and what the driver does not let go of is left behind
  local seconds=$1 file=$2 end
  shift 2
  # Into a file: a pipe would be waited for as long as any process that is left holds it.
  timeout -k 5 "$seconds" "$@" > "$file" 2>&1 < /dev/null &
  end=$((SECONDS + seconds + 10))
  while kill -0 $! 2> /dev/null; do
    [ $SECONDS -lt $end ] || return 137
    sleep 0.1
  done
  wait $!
}
show() { # FILE: its beginning and end, so that the log stays small whatever happens
  if [ "$(stat -c %s "$1")" -le 200000 ]; then
    cat "$1"
  else
    head -c 100000 "$1"
    printf '\n== ...\n'
    tail -c 100000 "$1"
  fi
}
run() { # NAME SECONDS COMMAND...: within the time that is left; its output is also in $work/output/NAME
  local name=$1 seconds=$2 left=$((limit - SECONDS + begin)) start=$SECONDS code
  shift 2
  if [ "$left" -le 5 ]; then
    echo "== $name: no time left"
    rows+="${rows:+, }{\"name\": \"$name\", \"ran\": false}"
    write_results
    return 1
  fi
  echo "== $name"
  within "$((seconds < left ? seconds : left))" "$work/output/$name" "$@"
  code=$?
  show "$work/output/$name"
  if [ "$code" -ne 0 ]; then
    failed=$((failed + 1))
    echo "== $name: FAILED, exit code $code (124 and 137: its $seconds s were over)"
    note_failure "$name" "$code" "$work/output/$name"
  fi
  rows+="${rows:+, }{\"name\": \"$name\", \"ran\": true, \"exit\": $code, \"seconds\": $((SECONDS - start))}"
  write_results
  return "$code"
}
wanted() { [[ " $only " == *" $1 "* ]]; }

tests() { # PROGRAM SECONDS [FILTER]: what did not end well is run again, each test alone: after an illegal address all tests of a process fail
  run "$1" "$2" "${ours[@]}" "$1" "${@:3}" && return
  [ $((limit - SECONDS + begin)) -gt 5 ] || return
  local test start=$SECONDS
  while read -r test; do
    grep -qF -e "[       OK ] $test (" -e "[  SKIPPED ] $test (" "$work/output/$1" && continue
    [ $((SECONDS - start)) -lt 90 ] || { echo "== $1: no time to run further tests alone"; return; }
    run "alone_${test//\//_}" 15 "${ours[@]}" "$1" "--gtest_filter=$test"
  done < <(timeout -k 5 20 "${ours[@]}" "$1" --gtest_list_tests "${@:3}" | sed 's/ *#.*//' | awk '/^[^ ].*\.$/ {suite = $1; next} /^  / {print suite $1}')
}
check=("${ours[@]}" golden_check --device cuda --data "$work/goldens/data")
golden_check_of() { # NAME SECONDS COMMAND...: shows what is not ok
  local name=$1 seconds=$2
  shift 2
  run "$name" "$seconds" bash -c 'set -o pipefail; "$@" | { grep -vE " ok( |$)" || true; }' _ "$@"
}
goldens() { # FOLDER: if the process crashes or hangs, each case alone
  local name case
  name=golden_$(basename "$1")
  golden_check_of "$name" 60 "${check[@]}" "$1"
  local code=$?
  [ $code -gt 1 ] || return
  local start=$SECONDS
  for case in "$1"/*/; do
    [ $((SECONDS - start)) -lt 90 ] || { echo "== $name: no time to check further cases alone"; return; }
    golden_check_of "${name}_$(basename "$case")" 20 "${check[@]}" "$case"
  done
}
benchmark() { # NAME SECONDS FILE COMMAND...: its standard output is JSON, a line each
  local name=$1 seconds=$2 file=$3
  shift 3
  run "$name" "$seconds" bash -c 'set -o pipefail; "${@:2}" | tee -a "$1"' _ "$out/$file" "$@"
}

# Blocks of memory as large as asked for, and new ones each time: caches hide what is read beyond their end, or before it is written.
sanitize() { # TOOL SECONDS TESTS
  if command -v compute-sanitizer > /dev/null; then
    run "$1${4:-}" "$2" "${ours[@]}" TRIDENT_MEMORY_CACHE=0 compute-sanitizer --error-exitcode 9 --print-limit 20 --tool "$1" \
      cuda_test --gtest_brief=1 "--gtest_filter=$3"
  else
    echo "== $1: there is no compute-sanitizer here"
  fi
}

within 60 "$work/output/first" "${ours[@]}" golden_check --device cuda "$work/goldens/neuralop/fno_1d"
code=$?
if [ $code -eq 77 ]; then
  cat "$work/output/first"
  echo "run.sh: the programs of $version start, but find no CUDA device: nothing was run"
  printf '{"version": "%s", "not_run": "no CUDA device"}\n' "$version" > "$out/results.json"
  exit 77
elif [ $code -ne 0 ]; then
  show "$work/output/first"
  note_failure first $code "$work/output/first"
fi

if wanted races; then
  # The kernels that share numbers between warps and blocks, in a few small tests: a race makes all that follows worthless.
  few='CudaJointSums.*:CudaLinearNorm.Carries*:CudaAttention/2.HeadsOfEverySize*:CudaLayerNorm/2.RowsOfManyBlocks*:CudaMatmul/2.*'
  run joint_sums 30 "${ours[@]}" cuda_test --gtest_brief=1 "--gtest_filter=$few" --gtest_repeat=5
  sanitize memcheck 40 "$few" _few
  sanitize racecheck 40 "$few" _few
fi
if wanted tests; then
  tests runtime_test 60 --gtest_filter=-SpectralResample.AgreesWithTheReference  # its numbers lie where it was built
  tests cuda_test 90
  tests cuda_trainer_test 60
fi
if wanted goldens; then
  for kind in scot neuralop pdegym; do goldens "$work/goldens/$kind"; done
  for more in "$work"/goldens/*-more; do [ ! -d "$more" ] || goldens "$more"; done
  # Two ranks on one GPU: through host memory.
  golden_check_of golden_two_ranks 60 "${ours[@]}" mpirun -n 2 --oversubscribe golden_check --device cuda --mesh 2x1x1x1 "$work/goldens/scot"
fi
if wanted kernels && [ -x "$work/bin/kernels_perf" ]; then benchmark kernels 110 benchmarks.jsonl "${ours[@]}" kernels_perf; fi
if wanted steps; then
  declare -A batches=([T]="16 64 256" [B]="16 128" [L]="16 64")
  for model in T B L; do
    step=("${ours[@]}" scot_step training --device cuda --model $model --seconds 3)
    for batch in ${batches[$model]}; do benchmark "training_${model}_${batch}_bf16" 45 benchmarks.jsonl "${step[@]}" --precision bf16 --batch "$batch"; done
    benchmark "training_${model}_16_f32" 45 benchmarks.jsonl "${step[@]}" --precision f32 --batch 16
    benchmark "inference_${model}" 30 benchmarks.jsonl "${ours[@]}" scot_step inference --device cuda --precision bf16 --model $model --batch 1 --seconds 2
  done
  for model in large_fno large_tfno; do
    benchmark "${model}_f32" 30 benchmarks.jsonl "${ours[@]}" fno_step $model 2 --cuda
    benchmark "${model}_bf16" 30 benchmarks.jsonl "${ours[@]}" fno_step $model 2 --cuda --bf16
  done
  benchmark loader 40 benchmarks.jsonl "${ours[@]}" loader_perf 2 "$OMP_NUM_THREADS"  # what training of small models must not wait for
fi
if wanted peer; then
  packages=""
  if [ -e "$here/peer.tar.xz" ]; then
    mkdir "$work/peer"
    unpack "$here/peer.tar.xz" "$work/peer"
    poseidon=${poseidon:-$work/peer/poseidon} packages=$work/peer/packages
  fi
  pytorch=(env "PYTHONPATH=$packages:${PYTHONPATH:-}" "TORCHINDUCTOR_CACHE_DIR=$work/inductor" python3)  # what it compiles is kept in $work
  if [ -n "$packages" ]; then
    for case in large_fno large_tfno; do benchmark "peer_${case}_eager" 25 peer.jsonl "${pytorch[@]}" "$here/fno_step.py" $case 2 --cuda; done
  fi
  if [ -n "$poseidon" ]; then
    benchmark peer 240 peer.jsonl "${pytorch[@]}" "$here/peer.py" "$poseidon" --seconds 2
  fi
  if [ -n "$packages" ]; then
    for case in large_fno large_tfno; do
      benchmark "peer_${case}_compiled" 60 peer.jsonl "${pytorch[@]}" "$here/fno_step.py" $case 2 --cuda --compiled
    done
  fi
fi
if wanted sanitizer; then
  short='CudaAttention*:CudaJointSums*:CudaKernels*:CudaLayerNorm*:CudaLinearNorm*:CudaPositionBias*:CudaSpectral*:CudaStridedCopy*:CudaConvolution*'
  sanitize memcheck 120 -CudaDevice.*
  sanitize racecheck 90 "$short"
  sanitize synccheck 40 "$short"
  sanitize initcheck 90 "$short"
fi
write_results
if [ -s "$out/failures" ]; then
  echo "== what failed, in the order in which it did"
  head -c 9000 "$out/failures"
fi
echo "run.sh: $failed failed, $((SECONDS - begin)) s; results in $out"
[ "$failed" -eq 0 ] && [ ! -s "$out/failures" ]
