#!/usr/bin/env bash
# Train a CD-SLM on several nodes, for longer than the time limit of a job. On the login node of a cluster:
#
#   sbatch --nodes=2 --gpus-per-node=8 examples/slurm/train.sh model_zoo/configs/ladder/L16.yaml runs/L16 data.shards=shards
#
# The first argument is the configuration, the second the folder of the run, the rest key=value of the configuration.
# Five minutes before the limit, or when the job is preempted, the training saves what it reached and the job goes back
# into the queue; it then goes on to the same bits, on as many GPUs or on others. A finished run is not queued again.
# A job that was cancelled or broke goes on when the same command is given.
#
# Add what your cluster wants: account, partition, NCCL's network (NCCL_SOCKET_IFNAME).
#SBATCH --job-name=slm-zoo-train
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slm-zoo-train-%j.log
set -euo pipefail
: "${1:?a configuration, such as model_zoo/configs/ladder/L16.yaml}" "${2:?the folder of the run}"
run=$2

# One task a node: torchrun starts a process for each of its GPUs. All nodes meet at the first one; the port comes from
# the job, so that two jobs on a node do not share one.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
RDZV=${nodes[0]}:$((20000 + SLURM_JOB_ID % 10000))
export RDZV
export OMP_NUM_THREADS=1 # reading has threads of its own: data.threads

# torchrun would give its processes 30 s after SIGTERM, too little for a large checkpoint. So the signal goes to them
# alone: they save and end with status 0, and so does torchrun. A signal ends `wait` and not what it waits for.
node='
    torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-gpu}" --rdzv-id "$SLURM_JOB_ID" \
        --rdzv-backend c10d --rdzv-endpoint "$RDZV" -m model_zoo train "$1" -o "$2" "${@:3}" &
    trap "pkill -TERM -P $!" TERM
    while wait $!; status=$?; kill -0 $! 2>/dev/null; do :; done
    exit $status
'
srun --kill-on-bad-exit=1 bash -c "$node" node "$@" &
step=$!

# Before the limit (USR1, by --signal above), or preempted (TERM): only this script hears it, and tells the tasks.
stopped=
trap 'stopped=1; scancel --signal=TERM "$SLURM_JOB_ID"' USR1 TERM

while status=0; wait "$step" || status=$?; kill -0 "$step" 2>/dev/null; do :; done
if [ -n "$stopped" ] && [ ! -f "$run/result.json" ] && [ "$status" -eq 0 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
