"""What a run would take before it is started: sizes and durations by compute, times and memory of GPUs."""
