"""The command line of the model zoo: parse, call, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import click

from model_zoo.cli.data import cut, filter_command, make_speech, prepare
from model_zoo.cli.planning import flops, plan, sweep
from model_zoo.cli.sampling import convert_vocoder, sample, vocode
from model_zoo.cli.training import export, train
from slm_eval._version import __version__
from slm_eval.base.commands import Commands


@click.group(
    cls=Commands,
    stopped="stopped; what was finished is kept, the same command continues",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="slm-zoo")
def main() -> None:
    """Train, sample and vocode continuous-diffusion spoken language models: the reference model."""
    from slm_eval.base.threads import spin_briefly

    spin_briefly()


for command in (
    *(make_speech, filter_command, prepare, cut),
    *(train, export),
    *(sample, vocode, convert_vocoder),
    *(flops, plan, sweep),
):
    main.add_command(command)
