#!/usr/bin/env bash
# A sweep of our own, from no data to scaling laws: speech is made, models are trained and scored, laws are fitted.
#
#     bash benchmarks/recipes/own_sweep/run.sh runs/own_sweep
#
# Stopped at any moment, the same command goes on. PYTHON is the interpreter; by default that of the path.
set -euo pipefail
here=$(dirname "$0")
output=${1:?give a folder for all that is made}
python=${PYTHON:-python}
export OMP_NUM_THREADS=1 # so small models are slower with two

"$python" -m model_zoo make-speech -o "$output/speech" --hours 4 --minutes 1
"$python" -m model_zoo prepare "$output/speech" -o "$output/shards" --validation 0.1
"$python" -m model_zoo cut "$output/speech" -o "$output/cut" --held-out "$output/shards" \
  --context-seconds 1 --seconds 3 --clips 20
"$python" -m model_zoo sweep "$here/sweep.yaml" -o "$output/sweep" data.shards="$output/shards" \
  --speech "$output/cut" --device cpu --flops-per-second 2e10
# A token is 4 frames of 80 a second; what real speech scores is in the summary of every run.
real=$(find "$output/sweep/runs" -path '*/guidance-2/run/summary.json' | sort | tail -n 1)
"$python" -m slm_eval scaling fit "$output/sweep/RUNS.csv" -o "$output/laws" --frame-rate 20 \
  --frames-per-text-token 5 --real "$real"
