#!/usr/bin/env bash
# Packs what run.sh needs on a bare GPU machine into one folder: programs, goldens, Open MPI, and the libraries they load, but CUDA's.
#
#     perf/gpu/bundle.sh BUILD TARGET [GOLDENS...]
#
# BUILD: a build folder configured with --preset cuda -DTRIDENT_NATIVE=OFF -DTRIDENT_TESTS=ON -DTRIDENT_PERF=ON, and built. GOLDENS: more
# folders of cases than those of tests/golden. TARGET gets bundle.tar.xz, run.sh, peer.py and fno_step.py, and must stay below 60 MiB.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
[ $# -ge 2 ] || { sed -n '2,7p' "$0" >&2; exit 2; }
build=$(cd "$1" && pwd) target=$2
shift 2
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
multiarch=lib/x86_64-linux-gnu
mkdir -p "$stage/bin" "$stage/lib" "$stage/goldens" "$stage/openmpi/bin" "$stage/openmpi/share"

copy_program() { # PATH: stripped, with the libraries that it loads
  install -s -m 755 "$1" "$stage/$2/"
  copy_libraries "$1"
}
copy_libraries() {
  # The C library and the compiler's belong to the system; the driver and CUDA's libraries to the GPU machine.
  ldd "$1" | awk '$2 == "=>" && $3 ~ /^\// {print $1, $3}' |
    { grep -vE '^(libc|libm|libdl|librt|libpthread|libresolv|libstdc\+\+|libgcc_s|ld-linux-x86-64|libcuda|libcudart|libcublas|libcublasLt|libcufft|libnccl)\.so' || true; } |
    while read -r name path; do
      [ -e "$stage/lib/$name" ] || install -m 644 "$path" "$stage/lib/$name"
    done
}

for program in bin/trident bin/golden_check perf/scot_step perf/fno_step perf/loader_perf tests/runtime_test tests/cuda_test tests/cuda_trainer_test; do
  [ -x "$build/$program" ] || { echo "bundle: $build/$program is missing; build that target first" >&2; exit 1; }
  copy_program "$build/$program" bin
done
[ ! -x "$build/perf/kernels_perf" ] || copy_program "$build/perf/kernels_perf" bin  # there is none where nvcc builds nothing

# Open MPI: its plug-ins without networks that need drivers.
copy_program /usr/bin/orterun openmpi/bin
copy_program /usr/bin/orted openmpi/bin
ln -s orterun "$stage/openmpi/bin/mpirun"
cp -rL /usr/share/openmpi "$stage/openmpi/share/openmpi"
plugins=$multiarch/openmpi/lib/openmpi3
mkdir -p "$stage/openmpi/$plugins" "$stage/openmpi/$multiarch/pmix2"
for plugin in /usr/$plugins/*.so; do
  case $plugin in *ofi* | *ucx* | *psm* | *openib* | *romio*) continue ;; esac
  cp "$plugin" "$stage/openmpi/$plugins/"
  copy_libraries "$plugin"
done
cp -rL "/usr/$multiarch/pmix2/lib" "$stage/openmpi/$multiarch/pmix2/lib"
[ ! -d "/usr/$multiarch/pmix2/share" ] || cp -rL "/usr/$multiarch/pmix2/share" "$stage/openmpi/$multiarch/pmix2/share"
for plugin in "$stage/openmpi/$multiarch"/pmix2/lib/pmix/*.so; do
  [ ! -e "$plugin" ] || copy_libraries "$plugin"
done
strip --strip-unneeded "$stage"/lib/* 2>/dev/null || true

cp -r "$source"/tests/golden/{scot,neuralop,pdegym,data} "$stage/goldens/"
for folder in "$@"; do cp -r "$folder" "$stage/goldens/$(basename "$folder")-more"; done
git -C "$source" describe --always --dirty > "$stage/version" 2>/dev/null || echo unknown > "$stage/version"

mkdir -p "$target"
# The programs share most of their code: a dictionary that reaches from one to the next keeps it once.
tar -C "$stage" -c . | xz -T1 --lzma2=preset=2,dict=256MiB > "$target/bundle.tar.xz"
cp "$here/run.sh" "$here/peer.py" "$source/perf/peers/fno_step.py" "$target/"
bytes=$(du -sb "$target" | cut -f1)
echo "bundle: $target, $((bytes / 1048576)) MiB"
[ "$bytes" -lt $((60 * 1048576)) ] || { echo "bundle: larger than 60 MiB; pack fewer goldens" >&2; exit 1; }
