#!/usr/bin/env bash
# Score generated speech with an array job of 16 tasks, then merge. On the login node of a cluster:
#
#   export GENERATED=gen REAL=real METRICS=pjsd,dnsmos
#   sbatch --dependency=afterok:$(sbatch --parsable --array=1-16 examples/slurm/run_array.sh) examples/slurm/merge.sh
#
# A task that failed is run again by itself. An array of one would be shard 1 of 1, so say which one it was; then merge:
#
#   SHARD=3/16 sbatch examples/slurm/run_array.sh
#
# Before: `slm-eval download` on a machine with a network. Add what your cluster wants: account, partition, --gres=gpu:1.
#SBATCH --job-name=slm-eval
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --output=slm-eval-%A_%a.log
set -euo pipefail
: "${GENERATED:?a folder of generated speech}" "${REAL:?a folder of real speech}"

# Every task takes the same options, or merging refuses. A task that is queued again continues: observations are cached.
# Each writes into runs/NAME.shard-I-of-N below the folder from which sbatch was called, NAME being that of $GENERATED.
slm-eval run --generated "$GENERATED" --real "$REAL" --metrics "${METRICS:-pjsd}" \
    --workers "${SLURM_CPUS_PER_TASK:-4}" --shard "${SHARD:-slurm}" "$@"
