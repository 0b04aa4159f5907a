#!/usr/bin/env bash
# Starts a Slurm of one node, on the loopback interface and in a folder of its own, and runs the scripts of launch/slurm in it: train,
# requeue and resume to the same bits, serve; and srun without PMIx. Usage: slurm_test.sh TRIDENT SOURCE_FOLDER. Exits with 77, and
# says why, where that Slurm cannot be started. Nothing that it starts outlives it.
set -euo pipefail
export TRIDENT=$(realpath "$1")
source_folder=$2
skip() { echo "skipped: $1"; exit 77; }
for program in munged slurmctld slurmd srun sbatch scontrol; do
  command -v "$program" >/dev/null || skip "$program is not installed (apt-get install slurm-wlm munge)"
done
(( EUID == 0 )) || skip "Slurm's daemons need root"
id munge >/dev/null 2>&1 || skip "there is no user munge"
# Ports and key of its own, so that a cluster that this machine belongs to is left alone.
port=$(( 20000 + $$ % 20000 ))
folder=$(mktemp -d /tmp/trident_slurm_XXXXXX)
export SLURM_CONF=$folder/slurm.conf

stop() {
  local name id
  scancel --user=root 2>/dev/null || true
  for name in slurmd slurmctld munged; do
    [[ -s $folder/$name.pid ]] || continue
    id=$(<"$folder/$name.pid")
    kill "$id" 2>/dev/null || continue
    for _ in $(seq 100); do kill -0 "$id" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$id" 2>/dev/null || true
  done
  rm -rf "$folder"
}
trap stop EXIT
fail() { echo "FAILED: $1"; tail -n 30 "$folder"/*.log 2>/dev/null || true; exit 1; }
until_true() {  # SECONDS COMMAND...
  local tries=$(( $1 * 10 )); shift
  for _ in $(seq "$tries"); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  fail "waited in vain for: $*"
}

chmod 755 "$folder"
mkdir -m 755 "$folder/munge" "$folder/state" "$folder/spool"
dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none
chown -R munge "$folder/munge"; chmod 400 "$folder/munge/key"
host=$(hostname -s)
cat > "$SLURM_CONF" <<CONF
ClusterName=trident_test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$(( port + 1 ))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc --all)
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
touch "$folder/munged.log"; chown munge "$folder/munged.log"
runuser -u munge -- /usr/sbin/munged --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/munged.pid" \
  --log-file="$folder/munge/munged.log" --seed-file="$folder/munge/seed" || skip "munged does not start"
ln -s munge/munged.pid "$folder/munged.pid"
slurmctld || skip "slurmctld does not start"
slurmd || skip "slurmd does not start"
until_true 30 sh -c "sinfo -h -o %T | grep -q idle"

data=$source_folder/tests/golden/pdegym/train_through_files/NS-Sines.nc
cat > "$folder/run.yaml" <<RUN
output: run
model: {type: scot, image_size: 32, embed_dim: 8, depths: [1, 1], num_heads: [1, 2], skip_connections: [1, 0], window_size: 4,
        use_conditioning: true, drop_path_rate: 0.2}
data:
  train: [{problem: NS-Sines, path: '$data', trajectories: [0, 4]}]
  max_num_time_steps: 3
  time_step_size: 6
training: {global_batch_size: 6, steps: 40, precision: f64, warmup_steps: 1}
checkpoint: {every: 200}
RUN
cd "$folder"
submit() { sbatch --parsable --ntasks=2 --overcommit "$@"; }
state_of() { scontrol show job "$1" | sed -n 's/.*JobState=\([A-Z]*\).*/\1/p'; }
is() { [[ $(state_of "$1") == "$2" ]]; }
ended() { [[ $(state_of "$1") =~ ^(COMPLETED|FAILED|CANCELLED|NODE_FAIL)$ ]]; }
completed() {  # JOB: waits for its end
  until_true 120 ended "$1"
  is "$1" COMPLETED || fail "job $1 is $(state_of "$1")"
}

echo "train"
job=$(submit "$source_folder/launch/slurm/train.sbatch" run.yaml output=whole training.steps=400)
completed "$job"
[[ -f whole/model/model.safetensors ]] || fail "no model was written"

echo "requeue and resume"
job=$(submit "$source_folder/launch/slurm/train_requeue.sbatch" run.yaml output=parts training.steps=400)
until_true 60 sh -c '[ "$(wc -l < parts/metrics.jsonl)" -ge 3 ]'
scancel --signal=USR1 --batch "$job"
until_true 60 is "$job" PENDING
(( $(wc -l < parts/metrics.jsonl) < 400 )) || fail "the run was over before the signal came"
grep -q "SIGUSR1: saved after step" parts/log || fail "nothing was saved"
sleep 3   # a start in the second in which the first one ended would be refused: "credential revoked"
scontrol update jobid="$job" StartTime=now   # Slurm lets a requeued job wait two minutes
completed "$job"
grep -q "going on after step" parts/log || fail "the run was not resumed"
cmp whole/model/model.safetensors parts/model/model.safetensors || fail "the resumed run has other weights"

echo "serve"
mkdir repository; ln -s "$folder/whole/model" repository/flow
job=$(submit "$source_folder/launch/slurm/serve.sbatch" --model-repository repository --grpc-address "unix:$folder/socket")
until_true 60 test -S socket
"$TRIDENT" predict --server "unix:$folder/socket" --model flow --problem NS-Sines --input "$data" --trajectory 4 --time 14 --output served.safetensors
scancel --signal=TERM "$job"
completed "$job"
grep -q "stopped after answering 1 request" "trident-serve-$job.log" || fail "the service did not drain"

echo "srun without PMIx"
if srun --mpi=none --ntasks=2 --overcommit "$TRIDENT" train run.yaml output=never >none.log 2>&1; then fail "srun --mpi=none trained"; fi
grep -q -- "--mpi=pmix" none.log || fail "the error does not name --mpi=pmix"
until_true 30 sh -c "! squeue -h | grep -q ."
echo "all passed"
