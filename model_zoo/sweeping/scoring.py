"""A trained model is made to speak at each guidance scale and compared with what was really said.

FOLDER/guidance-2/speech/     continuations of all contexts, as by ``slm-zoo sample``
FOLDER/guidance-2/run/        what ``slm-eval run`` found
"""

from __future__ import annotations

from pathlib import Path

from model_zoo.speech.cut import CONTEXTS, REAL
from model_zoo.sweeping.spec import Scoring
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.observing.options import RunOptions
from slm_eval.run.evaluate import evaluate
from slm_eval.run.files import write_run
from slm_eval.run.finished import is_run, read_run
from slm_eval.speech.corpus import Corpus, load_corpus


class Scorer:
    """Scores models of one sweep; recognisers and predictors are loaded once.

    Args:
        device: auto, cpu or cuda:0.

    Raises:
        UsageError: the speech is not what ``slm-zoo cut`` wrote, or a metric is not known.
    """

    def __init__(self, scoring: Scoring, device: str = "auto") -> None:
        from slm_eval.metrics.choosing import choose_metrics

        self.scoring, self.device = scoring, device
        if scoring.guidance:
            self.contexts, self.real = (_part(scoring, side) for side in (CONTEXTS, REAL))
            self.metrics = choose_metrics(
                scoring.metrics, None, recognizer=scoring.recognizer, lang=None, n=scoring.ngrams, log_base="e", seed=0
            )

    def __call__(self, checkpoint: Path, folder: Path) -> dict[str, float]:
        """Return values by ``key@guidance``; what could not be computed is left out. What is there already is kept.

        Raises:
            SlmEvalError: a context cannot be read, nothing can be scored, or the folder cannot be written.
        """
        values: dict[str, float] = {}
        for guidance in self.scoring.guidance:
            below = folder / f"guidance-{guidance:g}"
            if not is_run(below / "run"):
                self._speak(checkpoint, below / "speech", guidance)
                self._evaluate(below)
            metrics = read_run(below / "run").metrics
            values |= {f"{key}@{guidance:g}": float(metric["value"]) for key, metric in metrics.items()}
        _release()
        return values

    def _speak(self, checkpoint: Path, output: Path, guidance: float) -> None:
        from model_zoo.sampling.generate import GenerateOptions, generate
        from model_zoo.sampling.sampler import SamplerOptions

        options = SamplerOptions(steps=self.scoring.steps, solver=self.scoring.solver, guidance=guidance)
        how = GenerateOptions(options, vocoder=self.scoring.vocoder, batch=self.scoring.batch, device=self.device)
        done = generate(checkpoint, self.contexts, output, how)
        for clip_id, why in done.failed.items():
            raise SlmEvalError(f"the context {clip_id} cannot be continued: {why}")

    def _evaluate(self, below: Path) -> None:
        how = RunOptions(device=self.device, workers=self.scoring.workers)
        evaluation = evaluate(below / "speech", self.real, self.metrics, how)
        write_run(evaluation, below / "run")


def _release() -> None:
    """Give a GPU's memory that is not in use back: the next training is another process."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _part(scoring: Scoring, side: str) -> Corpus:
    if scoring.speech is None:
        raise UsageError("scoring needs speech to continue: --speech DIR, made by slm-zoo cut; or guidance: []")
    if not (scoring.speech / side).is_dir():
        raise UsageError(f"{scoring.speech} has no folder {side}; give one that slm-zoo cut wrote")
    return load_corpus(scoring.speech / side).limit(scoring.clips)
