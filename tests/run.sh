#!/usr/bin/env bash
# Installs what is missing, builds everything and runs it through ctest.
#   --sanitize     the unit and fuzz tests under the address and undefined-behaviour sanitizers
#   --cuda         the build with CUDA, the tests that need a GPU (skipped where there is none) and the recorded numbers on the CPU
#   --no-install   leave the system's packages alone
#   --jobs N       parallel compilations and tests (default: the cores)
# Whatever follows `--` goes to ctest.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
preset=release
install=yes
jobs="$(nproc)"
while (( $# )); do
  case "$1" in
    --sanitize) preset=debug ;;
    --cuda) preset=cuda ;;
    --no-install) install=no ;;
    --jobs) jobs="${2:?--jobs takes a number}"; shift ;;
    --) shift; break ;;
    *) echo "tests: unknown option $1" >&2; sed -n '2,7p' "${BASH_SOURCE[0]}" >&2; exit 1 ;;
  esac
  shift
done

cd "$root"
[[ "$install" == no ]] || bash launch/install.sh test

configure=(--preset "$preset" -DTRIDENT_TESTS=ON)
[[ "$preset" == debug ]] || configure+=(-DTRIDENT_PERF=ON)
if [[ "$preset" == cuda && ! -e /dev/nvidiactl ]]; then
  # No kernel will run: nvcc checks them, and spares itself the minutes of making them fast. C++ is compiled for any x86-64 as for the
  # bundle of perf/gpu, and the recorded numbers check it.
  configure+=("-DCMAKE_CUDA_FLAGS=-Xcicc -O0 -Xptxas -O0" -DTRIDENT_NATIVE=OFF)
fi
if [[ "$preset" == release ]]; then
  # Python's own gRPC client of the protocol, in the build folder alone.
  venv="$root/build/venv"
  if [[ ! -x "$venv/bin/python" ]] || ! "$venv/bin/python" -c 'import tritonclient.grpc' 2>/dev/null; then
    echo "tests: installing tritonclient into build/venv" >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'tritonclient[grpc]' numpy
  fi
  configure+=("-DTRIDENT_PYTHON=$venv/bin/python")
fi
cmake "${configure[@]}"
cmake --build --preset "$preset" -j "$jobs"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
select=()
[[ "$preset" == debug ]] && select=(--label-regex 'unit|fuzz')
[[ "$preset" == cuda ]] && select=(--label-regex 'gpu|golden')
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$jobs" "${select[@]}" "$@"
