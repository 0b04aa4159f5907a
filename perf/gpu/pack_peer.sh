#!/usr/bin/env bash
# Packs what peer.py needs where there is PyTorch and nothing else: the original's source and its Python packages, beside a bundle.
#
#     perf/gpu/pack_peer.sh POSEIDON TARGET
#
# POSEIDON: a checkout of github.com/camlab-ethz/poseidon. TARGET, the bundle's folder, gets peer.tar.xz, which run.sh finds there: the original
# and neuraloperator with their packages. None depends on the version of Python: tokenizers is left out, which peer.py hides where it is installed,
# so is scipy, whose place fno_step.py takes where it is not, and compiled parts have a substitute in Python.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
poseidon=$(cd "$1" && pwd)
mkdir -p "$2"
target=$(cd "$2" && pwd)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
python3 -m pip install --quiet --no-deps --no-compile --target "$stage/packages" transformers==4.35.2 "huggingface_hub<1.0" safetensors regex \
  pyyaml requests urllib3 idna certifi charset_normalizer tqdm filelock packaging fsspec typing_extensions \
  neuraloperator==2.0.0 tensorly==0.10.0 tensorly-torch==0.5.0 opt_einsum
rm -rf "$stage"/packages/tensorly/{datasets/data,tests} "$stage"/packages/neuralop/data/datasets/data
mkdir "$stage/poseidon"
cp -r "$poseidon/scOT" "$stage/poseidon/"
find "$stage" -name __pycache__ -prune -exec rm -rf {} +
tar -C "$stage" -c . | xz -T2 -6 > "$target/peer.tar.xz"
bytes=$(du -sb "$target" | cut -f1)
echo "pack_peer: peer.tar.xz has $(($(stat -c %s "$target/peer.tar.xz") / 1048576)) MiB, all of $target $((bytes / 1048576)) MiB"
[ "$bytes" -lt $((60 * 1048576)) ] || { echo "pack_peer: larger than 60 MiB; pack fewer goldens" >&2; exit 1; }
