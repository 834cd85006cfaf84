"""``python -m slm_eval`` is ``slm-eval``."""

from slm_eval.cli import main

main(prog_name="slm-eval")
