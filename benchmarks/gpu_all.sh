#!/usr/bin/env bash
# Everything that only a GPU can tell, in three commands of at most ten minutes each, on one machine, in this order:
#
#   benchmarks/gpu_all.sh 1      checks; training speed at 8 and 4 layers, step by step; speech for the 36 M run
#   benchmarks/gpu_all.sh 2      the 36 M run is trained
#   benchmarks/gpu_all.sh 3      it is finished, sampled and scored; 2 and 1 layers; sampling; vocoders; observers
#   benchmarks/gpu_all.sh more   where there is an hour: every attention kernel, checkpointing, micro batches
#
# Results go below $OUT, else into benchmarks/results, each written as soon as it is there; what has no time left is left
# out and said. Those below $OUT become one archive at the end, results-PART.tar.gz. What goes on from command to command
# is kept in $WORK (runs/gpu). A part that fails stops no other: the last lines say which. Needed: what slm-eval and its
# extra `zoo` depend on, espeak-ng, and 0.15 GB of disk for an hour of speech. All may be chosen, the same in every part;
# SPEECH is a folder of real recordings to learn from too:
#
#   PYTHON=python3 DEVICE=cuda:0 HOURS=20 MINUTES=10 CLIPS=48 SPEECH=FOLDER benchmarks/gpu_all.sh 1
set -uo pipefail
cd "$(dirname "$0")/.."
part=${1:?1, 2 or 3}
PYTHON=${PYTHON:-python3} DEVICE=${DEVICE:-cuda:0}
results=${OUT:-benchmarks/results} work=${WORK:-runs/gpu}
mkdir -p "$results" "$work"
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export TORCHINDUCTOR_CACHE_DIR=$PWD/$work/inductor # what was compiled once is not compiled again
log=$results/gpu-$part.log
SECONDS=0 total=570 # seconds: 30 below the limit, so that the last file is written
failed=()

# try NAME SECONDS COMMAND...: at most so long, and never beyond the end. TERM is what training saves at; its output goes
# to the log, which names what was left out.
try() {
    local name=$1 limit=$2 left=$((total - SECONDS))
    shift 2
    [ "$limit" -lt "$left" ] || limit=$left
    if [ "$limit" -lt 10 ]; then
        echo "=== $name: left out, no time" | tee -a "$log"
        failed+=("$name: left out")
        return
    fi
    echo "=== $name (at $SECONDS s, at most $limit s): $*" | tee -a "$log"
    timeout --signal=TERM --kill-after=20 "$limit" "$@" 2>&1 | tr '\r' '\n' | tee -a "$log"
    local status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || failed+=("$name: status $status")
}

# All stages up to so many seconds from now; the same command in every part, so that it goes on.
reference_run() {
    local minutes
    minutes=$($PYTHON -c "print($1 / 60)")
    try reference-run $(($1 + 60)) "$PYTHON" benchmarks/recipes/reference_run/run.py -o "$work/reference" \
        --results "$results/reference-run" --hours "${HOURS:-20}" \
        --minutes "${MINUTES:-10}" --clips "${CLIPS:-48}" --device "$DEVICE" \
        ${SPEECH:+--speech "$SPEECH"} --limit-minutes "$minutes"
}

case $part in
1)
    # What is here, and whether buffers are right that only a GPU has.
    try machine 20 nvidia-smi
    try tests 60 "$PYTHON" -m pytest -q tests/zoo/data/test_feed.py
    # Training speed. 8 layers first, whose target is the main one, and what a step is made of; then 4.
    try training-8 210 "$PYTHON" benchmarks/zoo/training.py speed --device "$DEVICE" --layers 8 --way attention=flash \
        --way compile=false --rounds 3 --minutes 3 --output "$results/training-8.json"
    try profile 60 "$PYTHON" benchmarks/zoo/training.py profile --device "$DEVICE" --layers 8 \
        --output "$results/training-profile.txt"
    # Speech, by the processor: made and prepared now, so that part 2 is training from its first second on.
    reference_run 100
    try training-4 150 "$PYTHON" benchmarks/zoo/training.py speed --device "$DEVICE" --layers 4 --way attention=flash \
        --way compile=false --rounds 3 --minutes 2.2 --output "$results/training-4.json"
    ;;
2)
    # Training: all the time that there is. It saves at the end and part 3 goes on.
    reference_run $((total - SECONDS - 70))
    ;;
3)
    # The rest of the training, sampling, vocoding, scores and the table.
    reference_run 400
    # At so few operations a second of speech, four threads could not read as fast as the GPU works.
    try training-1-2 60 "$PYTHON" benchmarks/zoo/training.py speed --device "$DEVICE" --layers 2 --layers 1 \
        --rounds 3 --minutes 0.8 --output "$results/training-1-2.json" data.threads=14
    try sampling 60 "$PYTHON" benchmarks/zoo/sampling.py speed --device "$DEVICE" --layers 8 --compile --rounds 2 \
        --output "$results/sampling-8.json"
    try vocoder 40 "$PYTHON" benchmarks/zoo/vocoder.py --device "$DEVICE" --seconds 30 --rounds 3 \
        --output "$results/vocoder-gpu.json"
    try observers 40 "$PYTHON" benchmarks/speed/throughput.py --audio "$work/reference/speech" --limit 60 --device "$DEVICE" \
        --observers dnsmos --output "$results/throughput-gpu.json"
    ;;
more)
    # Where there is more time: what attention kernels and memory bring, alone.
    total=${TOTAL:-3600}
    try training-more 3500 "$PYTHON" benchmarks/zoo/training.py speed --device "$DEVICE" --way attention=flash \
        --way attention=efficient --way activation_checkpointing=true --way micro_batch=1 --way micro_batch=8 \
        --minutes 55 --output "$results/training-more.json"
    ;;
*)
    echo "there are parts 1, 2, 3 and more, not $part" >&2
    exit 2
    ;;
esac
echo "=== done at $SECONDS s; ${#failed[@]} not as wanted" | tee -a "$log"
((${#failed[@]} == 0)) || printf '    %s\n' "${failed[@]}" | tee -a "$log"
[ -z "${OUT:-}" ] || (cd "$results" && tar --remove-files -czf "results-$part.tar.gz" --exclude="results-*" ./*)
