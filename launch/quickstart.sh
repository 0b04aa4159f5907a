#!/usr/bin/env bash
# The whole job once, on this machine: installs what is missing, builds, generates flow data, trains a small scOT on two ranks, evaluates
# it, serves it, asks it for a roll-out through gRPC, and draws what came out.
#   --no-install   leave the system's packages alone
#   --model tfno   Darcy flow and a tensorised Fourier neural operator instead, evaluated at two resolutions
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
usage() { sed -n '2,5p' "${BASH_SOURCE[0]}" >&2; exit 1; }
install=yes model=scot
while (( $# )); do
  case "$1" in
    --no-install) install=no ;;
    --model) [[ "${2:-}" == scot || "${2:-}" == tfno ]] || usage; model="$2"; shift ;;
    *) usage ;;
  esac
  shift
done

cd "$root"
out="$root/build/quickstart"
[[ "$model" == scot ]] || out+="_$model"
trident="$root/build/release/bin/trident"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
started=$SECONDS
declare -A seconds
part() { # NAME TEXT: closes the part before and opens this one
  [[ -z "${current:-}" ]] || seconds[$current]=$(( SECONDS - part_started ))
  current="$1" part_started=$SECONDS
  printf '\n[%3d s] %s\n' $(( SECONDS - started )) "$2" >&2
}

part install "Packages"
[[ "$install" == no ]] || bash launch/install.sh run

part build "Building the program (build/release)"
cmake --preset release -DTRIDENT_TESTS=OFF -DTRIDENT_PERF=OFF >/dev/null
cmake --build --preset release --target trident -j "$(nproc)"

# Serves $out/run/model as `quickstart`, asks it QUESTION..., asks the program without a server too, and compares: sets `served`.
serve_and_ask() {
  mkdir -p "$out/models"
  ln -sfn ../run/model "$out/models/quickstart"
  "$trident" serve --model-repository "$out/models" --grpc-address 127.0.0.1:0 2>"$out/serve.log" &
  server=$!
  local address=
  trap 'kill "$server" 2>/dev/null || true' EXIT
  for _ in $(seq 100); do
    address="$(grep -oE '127\.0\.0\.1:[1-9][0-9]*' "$out/serve.log" | head -n 1 || true)"
    [[ -z "$address" ]] || break
    kill -0 "$server" 2>/dev/null || { cat "$out/serve.log" >&2; exit 1; }
    sleep 0.1
  done
  "$trident" predict --server "$address" --model quickstart "$@" --output "$out/served.safetensors"
  kill -TERM "$server"
  wait "$server"
  trap - EXIT
  "$trident" predict --model "$out/run/model" "$@" --output "$out/local.safetensors"
  served=false
  cmp -s "$out/served.safetensors" "$out/local.safetensors" && served=true
}

# The parts' seconds as JSON.
seconds_of_parts() {
  for name in install build generate train evaluate serve plot; do printf '%s %s\n' "$name" "${seconds[$name]}"; done |
    jq -Rn --argjson total $(( SECONDS - started )) '[inputs | split(" ") | {(.[0]): (.[1] | tonumber)}] | add + {total: $total}'
}

rm -rf "$out"
mkdir -p "$out"

if [[ "$model" == tfno ]]; then
  part generate "Generating Darcy flow: 600 samples on 16x16 points, and 50 others on 16x16 and 32x32"
  "$trident" generate Darcy --trajectories 600 --resolution 16 --output "$out/darcy_16.h5"
  for n in 16 32; do
    "$trident" generate Darcy --first 600 --trajectories 50 --resolution "$n" --output "$out/darcy_test_$n.h5"
  done

  part train "Training a TFNO with a tenth of an FNO's parameters (launch/runs/quickstart_tfno.yaml)"
  "$trident" train launch/runs/quickstart_tfno.yaml

  part evaluate "Evaluating on samples that it never saw, at the resolution it was trained on and at twice that"
  for n in 16 32; do
    data=(--data launch/runs/quickstart_tfno.yaml "data.validation[0].path=$out/darcy_test_$n.h5")
    "$trident" evaluate --model "$out/run/model" "${data[@]}" --json >"$out/evaluation_$n.json"
    "$trident" evaluate --model "$out/run/model" "${data[@]}" >&2
  done

  part serve "Serving it, and asking for the flow in a medium through gRPC"
  # The medium as a file of its own: what a data set of ours is called, the model knows and the client does not.
  "$trident" predict --model "$out/run/model" --input "$out/darcy_test_32.h5" --trajectory 0 --problem darcy_16 --output "$out/medium.safetensors"
  serve_and_ask --input "$out/medium.safetensors" --problem darcy_16

  part plot "Drawing medium and flow, and the curves of the training"
  "$trident" plot "$out/served.safetensors" --problem '' --output "$out"
  "$trident" plot "$out/run" --output "$out"
  [[ -s "$out/prediction.png" ]]

  part summary "Done"
  jq -n --slurpfile coarse "$out/evaluation_16.json" --slurpfile fine "$out/evaluation_32.json" --argjson served "$served" \
    --arg picture "$out/prediction.png" --argjson seconds "$(seconds_of_parts)" \
    '{error_16: $coarse[0].validation[0].validation_loss, error_32: $fine[0].validation[0].validation_loss, served: $served, picture: $picture, seconds: $seconds}' >"$out/summary.json"
  cat <<END
relative L2 error at 16x16 and 32x32 points: $(jq -r '"\(.error_16) and \(.error_32)"' "$out/summary.json") (summary: $out/summary.json)
picture of a prediction:  $out/prediction.png
trained model:            $out/run/model (curves: $out/curves.png)
program:                  $trident (serve it: trident serve --model-repository $out/models)
END
  exit 0
fi

flow=(NS-Sines --resolution 64 --velocity-std 0.13 --viscosity 1e-3 --seed 7)
part generate "Generating flow fields: 160 trajectories of 21 frames on 64x64 points"
"$trident" generate "${flow[@]}" --trajectories 160 --output "$out/flow.nc"

part train "Training a small scOT on two ranks (launch/runs/quickstart.yaml)"
mpirun -n 2 --oversubscribe "$trident" train launch/runs/quickstart.yaml

part evaluate "Evaluating on trajectories that it never saw"
"$trident" evaluate --model "$out/run/model" --data launch/runs/quickstart.yaml --json >"$out/evaluation.json"
"$trident" evaluate --model "$out/run/model" --data launch/runs/quickstart.yaml >&2

part serve "Serving it, and asking for a roll-out of 7 steps through gRPC"
serve_and_ask --input "$out/flow.nc" --trajectory 144 --frame 0 --problem NS-Sines --time 14 --steps 7

part plot "Drawing input, truth, prediction and error"
"$trident" plot "$out/served.safetensors" --truth "$out/flow.nc" --output "$out"
"$trident" plot "$out/run" --output "$out"
picture="$out/prediction.png"
[[ -s "$picture" ]]

part summary "Done"
ratio="$(jq '.cases[] | select(.initial_time == 0 and .final_time == 14 and .ar_steps == 1)
             | .model["uv/median_relative_l1_error"] / .persistence["uv/median_relative_l1_error"]' "$out/evaluation.json")"
jq -n --argjson ratio "$ratio" --argjson served "$served" --arg picture "$picture" --argjson seconds "$(seconds_of_parts)" \
  '{ratio: $ratio, served: $served, picture: $picture, seconds: $seconds}' >"$out/summary.json"

cat <<END
error of velocity, frame 0 to 14, over persistence's: $(printf '%.3f' "$ratio") (summary: $out/summary.json)
picture of the roll-out:  $picture
trained model:            $out/run/model (curves: $out/curves.png)
data set:                 $out/flow.nc
program:                  $trident (serve it: trident serve --model-repository $out/models)
END
