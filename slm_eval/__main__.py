"""``python -m slm_eval`` is ``slm-eval``."""

from slm_eval.base.launching import leave_current_folder

leave_current_folder()  # which -m put before everything else

from slm_eval.cli.main import main  # noqa: E402

main(prog_name="slm-eval")
