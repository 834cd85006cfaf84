#!/usr/bin/env bash
# After run_array.sh: its shards become one run, runs/NAME. Reads no audio and needs no GPU.
#SBATCH --job-name=slm-eval-merge
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=00:30:00
#SBATCH --output=slm-eval-%j.log
set -euo pipefail
: "${GENERATED:?the same as for run_array.sh}"

# Shards of an earlier array with another number of tasks overlap with these; slm-eval names both, remove the old ones.
run=runs/$(basename "$GENERATED")
slm-eval merge "$run".shard-*-of-* -o "$run" "$@"
