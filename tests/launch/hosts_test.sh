#!/usr/bin/env bash
# Two hosts of one machine: network namespaces with host names of their own, joined by a cable; mpirun reaches the other one through an agent in
# the place of ssh. Trains, checks that ranks were placed host by host, kills a host, serves. Usage: hosts_test.sh TRIDENT MPIRUN DATA. Exits with
# 77, and says why, where such hosts cannot be made. Nothing that it starts or makes outlives it.
set -euo pipefail
trident=$(realpath "$1"); mpirun=$2; data=$(realpath "$3")
skip() { echo "skipped: $1"; exit 77; }
for program in ip unshare hostname; do command -v "$program" >/dev/null || skip "$program is not installed"; done
(( EUID == 0 )) || skip "network namespaces need root"
folder=$(mktemp -d /tmp/trident_hosts_XXXXXX)
one=trident-$$-a; two=trident-$$-b

processes_of() { ip netns pids "$1" 2>/dev/null || true; }
stop() {
  local host process
  for host in "$one" "$two"; do
    for process in $(processes_of "$host"); do kill -9 "$process" 2>/dev/null || true; done
    ip netns del "$host" 2>/dev/null || true
  done
  rm -rf "$folder"
}
trap stop EXIT
fail() { echo "FAILED: $1"; tail -n 30 "$folder"/*.log; exit 1; }
until_true() {  # SECONDS COMMAND...
  local tries=$(( $1 * 10 )); shift
  for _ in $(seq "$tries"); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  fail "waited in vain for: $*"
}

{ ip netns add "$one" && ip netns add "$two"; } 2>"$folder/ip.log" || skip "network namespaces cannot be made: $(<"$folder/ip.log")"
ip link add cable netns "$one" type veth peer name cable netns "$two" 2>"$folder/ip.log" || skip "no virtual cable: $(<"$folder/ip.log")"
unshare --uts true 2>"$folder/ip.log" || skip "host names cannot be changed: $(<"$folder/ip.log")"
ip -n "$one" addr add 10.77.0.1/24 dev cable; ip -n "$two" addr add 10.77.0.2/24 dev cable
for host in "$one" "$two"; do ip -n "$host" link set lo up; ip -n "$host" link set cable up; done

cat > "$folder/agent" <<AGENT
#!/bin/sh
# In the place of ssh: HOST COMMAND...
shift
exec ip netns exec $two unshare --uts sh -c "hostname $two; \$*"
AGENT
cat > "$folder/rank" <<'RANK'
#!/bin/sh
# COMMAND..., which leaves the process and host of each rank behind.
echo $$ > "$PLACES/process.$OMPI_COMM_WORLD_RANK"
hostname > "$PLACES/host.$OMPI_COMM_WORLD_RANK"
exec "$@"
RANK
chmod +x "$folder/agent" "$folder/rank"
cat > "$folder/run.yaml" <<RUN
output: run
model: {type: scot, image_size: 32, embed_dim: 8, depths: [1, 1], num_heads: [1, 2], skip_connections: [1, 0], window_size: 4, use_conditioning: true}
data:
  train: [{problem: NS-Sines, path: '$data', trajectories: [0, 4]}]
  max_num_time_steps: 3
  time_step_size: 6
training: {global_batch_size: 4, steps: 3, precision: f64}
RUN
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1 PLACES=$folder

# Four ranks, dealt out to the two hosts in turn: 0 and 2 on the first. The hosts share their cores, so waiting ranks let others run.
on_two_hosts() {
  ip netns exec "$one" unshare --uts sh -c "hostname $one; exec \"\$@\"" sh "$mpirun" --mca plm_rsh_agent "$folder/agent" \
    --mca mpi_yield_when_idle 1 --mca oob_tcp_if_include 10.77.0.0/24 --mca btl_tcp_if_include 10.77.0.0/24 -x PLACES -x OMP_NUM_THREADS \
    --host 10.77.0.1:2,10.77.0.2:2 -n 4 --map-by node "$folder/rank" "$@"
}
on_one_host() { "$mpirun" --oversubscribe -n 4 "$@"; }
losses() { grep -o '"loss": *[^,]*' "$1/metrics.jsonl"; }

# The same bits as on one host, and tensor neighbours on the same host.
train=("$trident" train "$folder/run.yaml" parallel.tensor=2 parallel.timeout_seconds=30)
on_two_hosts "${train[@]}" "output=$folder/two" >"$folder/train.log" 2>&1 || fail "training on two hosts"
[[ $(<"$folder/host.1") == "$two" && $(<"$folder/host.2") == "$one" ]] || fail "mpirun did not deal the ranks out in turn"
on_one_host "${train[@]}" "output=$folder/one" >"$folder/train_one.log" 2>&1 || fail "training on one host"
[[ -n $(losses "$folder/one") && $(losses "$folder/one") == "$(losses "$folder/two")" ]] || fail "the losses of two hosts are others"

# What dies on the other host ends the job within 10 s: two ranks, which are named with their places on the mesh, both of data 1; the whole host.
ended() { ! kill -0 "$1" 2>/dev/null; }
kill_while_training() {  # NAME COMMAND_THAT_KILLS...
  local name=$1; shift
  on_two_hosts "${train[@]}" "output=$folder/$name" training.steps=1000000 >"$folder/$name.log" 2>&1 &
  local job=$!
  until_true 30 test -s "$folder/$name/metrics.jsonl"
  SECONDS=0
  "$@"
  until_true 30 ended "$job"
  (( SECONDS <= 10 )) || fail "the job ended only after $SECONDS s"
  wait "$job" && fail "the job went on without a host" || true
}
kill_ranks() { kill -9 "$(<"$folder/process.1")" "$(<"$folder/process.3")"; }
kill_host() { kill -9 $(processes_of "$two"); }
kill_while_training ranks kill_ranks
grep -q 'rank 1 (data 1 tensor 0)\|rank 3 (data 1 tensor 1)' "$folder/ranks.log" || fail "the dead ranks are not named, or stood elsewhere on the mesh"
kill_while_training host kill_host

# The service of two hosts gives the answer of one.
mkdir "$folder/models"; ln -s "$folder/one/model" "$folder/models/flow"
ask=(--input "$data" --trajectory 4 --frame 0 --problem NS-Sines --time 14 --steps 2)
on_one_host "$trident" predict --model "$folder/one/model" "${ask[@]}" --output "$folder/expected.safetensors" parallel.domain_y=2 parallel.tensor=2 \
  >"$folder/predict.log" 2>&1 || fail "predicting on one host"
on_two_hosts "$trident" serve --model-repository "$folder/models" --grpc-address "unix:$folder/socket" parallel.domain_y=2 parallel.tensor=2 \
  >"$folder/serve.log" 2>&1 &
job=$!
until_true 30 test -S "$folder/socket"
"$trident" predict --server "unix:$folder/socket" --model flow "${ask[@]}" --output "$folder/served.safetensors" >"$folder/ask.log" 2>&1 || fail "asking"
cmp "$folder/expected.safetensors" "$folder/served.safetensors" || fail "the service of two hosts gives another answer"
kill -TERM "$(<"$folder/process.0")"
until_true 30 ended "$job"
wait "$job" || fail "the service did not end well"
echo "trained, killed and served on two hosts"
