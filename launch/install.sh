#!/usr/bin/env bash
# Installs the Debian packages that Trident needs and that are missing: `install.sh run` for the program, `install.sh test` for
# the tests too. Lists them first. Needs root or sudo only if something is missing.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config ccache jq gnuplot-nox
  libopenmpi-dev openmpi-bin libdnnl-dev libfftw3-dev
  libhdf5-dev libyaml-cpp-dev libcli11-dev nlohmann-json3-dev libspdlog-dev libfmt-dev libxxhash-dev zlib1g-dev
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc prometheus-cpp-dev
)
case "${1:-}" in
  run) ;;
  test) packages+=(libgtest-dev libgmock-dev libbenchmark-dev libboost-context-dev python3-venv slurm-wlm munge) ;;
  *) echo "usage: install.sh run|test" >&2; exit 1 ;;
esac

missing=()
for package in "${packages[@]}"; do
  [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" == installed ]] || missing+=("$package")
done
if (( ${#missing[@]} == 0 )); then
  echo "packages: all there" >&2
  exit 0
fi

echo "packages: installing ${missing[*]}" >&2
as_root=()
if (( EUID != 0 )); then
  command -v sudo >/dev/null || { echo "packages: needs root or sudo to install them; or install them and pass --no-install" >&2; exit 1; }
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
