"""``python -m model_zoo`` is ``slm-zoo``, for torchrun and for processes that are started from here."""

from model_zoo.cli import main

main(prog_name="slm-zoo")
