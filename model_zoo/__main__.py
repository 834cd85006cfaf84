"""``python -m model_zoo`` is ``slm-zoo``."""

from slm_eval.base.launching import leave_current_folder

leave_current_folder()  # which -m put before everything else

from model_zoo.cli.main import main  # noqa: E402

main(prog_name="slm-zoo")
