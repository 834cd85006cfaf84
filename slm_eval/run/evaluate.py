"""The main path: two corpora and some metrics in, an evaluation out. Read it from top to bottom.

    files -> Corpus -> digest -> what the store knows -> decode the rest in worker processes -> batch by length
          -> Observer -> Store -> Metric.summarise -> Evaluation

Nothing here depends on the order in which clips are decoded: observations are kept by content digest, so a run that
is stopped and started again, or spread differently over processes, ends with the same summary.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.signature import Signature
from slm_eval.metrics.metric import Metric, NotComputed, Summary
from slm_eval.metrics.recitation import SHARED_AUDIO
from slm_eval.metrics.registry import PLUGINS, every_metric, make_metric
from slm_eval.observing.observe import observe
from slm_eval.observing.observer import Observation, Observer
from slm_eval.observing.options import RunOptions
from slm_eval.observing.sounds import ClipResult, observations
from slm_eval.run.evaluation import Evaluation
from slm_eval.run.fields import EXPECTED, METRIC, is_key, lacking, malformed
from slm_eval.speech.corpus import Corpus, load_corpus


def evaluate(
    generated: str | os.PathLike[str] | Corpus,
    real: str | os.PathLike[str] | Corpus,
    metrics: Sequence[Metric | str] | None = None,
    options: RunOptions | None = None,
) -> Evaluation:
    """Score generated speech against real speech.

    Args:
        generated: a folder, file list, wav.scp, JSONL manifest or phones.jsonl, or a loaded corpus.
        real: likewise.
        metrics: metrics or their names; None: every metric that can run here.
        options: device, batches, processes, what a bad clip does.

    Raises:
        UsageError: a path or a name that does not exist.
        SlmEvalError: the run cannot go on; what was observed is kept, and the same call continues.

    >>> evaluate("gen/", "real/", metrics=[pJSD(n=(1, 5)), DNSMOS()]).to_pandas()  # doctest: +SKIP
    """
    # 1. Options that make no sense are refused before anything is read.
    options = options or RunOptions()
    options.require_usable()
    # 2. Which clips there are, and which metrics can be computed of them here.
    corpora, runnable, left_out = plan(generated, real, metrics)
    # 3. The expensive half: each observer sees every clip once, but for what the cache knows.
    clips = observe(corpora, [metric.observer for metric in runnable], options)
    # 4. The cheap half: observations become numbers.
    return summarise(corpora, clips, runnable, left_out)


def plan(
    generated: str | os.PathLike[str] | Corpus,
    real: str | os.PathLike[str] | Corpus,
    metrics: Sequence[Metric | str] | None,
) -> tuple[dict[str, Corpus], list[Metric], dict[str, NotComputed]]:
    """Return what is scored, the metrics that can be computed, and why the others cannot; arguments as ``evaluate``.

    Raises:
        UsageError: a path or a name that does not exist.
        SlmEvalError: none of the metrics can be computed.
    """
    corpora = {"generated": _corpus(generated), "real": _corpus(real)}
    asked = every_metric() if metrics is None else [make_metric(metric) for metric in metrics]
    runnable, left_out = choose(asked, corpora)
    if not runnable:
        reasons = dict.fromkeys(absent.reason for absent in left_out.values())
        raise SlmEvalError(f"none of the metrics can be computed: {'; '.join(reasons)}")
    return corpora, runnable, left_out


def choose(metrics: Sequence[Metric], corpora: dict[str, Corpus]) -> tuple[list[Metric], dict[str, NotComputed]]:
    """Return the metrics that can be computed on these corpora here, and why the others cannot."""
    runnable: list[Metric] = []
    left_out: dict[str, NotComputed] = {}
    for metric in metrics:
        chosen = metric.for_corpora(corpora)
        reason = chosen.why_not(corpora) or _fetch(chosen.observer)
        if reason is None:
            runnable.append(chosen)
        else:
            left_out.update((key, NotComputed(reason, unavailable=True)) for key in metric.keys)
    return runnable, left_out


def _fetch(observer: Observer) -> str | None:
    """Get the weights; a line that says why they are not to be had, or None."""
    try:
        observer.fetch()
    except SlmEvalError as error:
        return str(error)
    return None


def summarise(
    corpora: dict[str, Corpus],
    clips: dict[str, list[ClipResult]],
    metrics: Sequence[Metric],
    left_out: dict[str, NotComputed],
) -> Evaluation:
    """Compute numbers from observations: no audio and no model from here on."""
    computed: dict[str, Summary] = {}
    absent = dict(left_out)
    shared = _warn_of_shared_clips(clips)
    for metric in metrics:
        generated, real = (observations(clips[side], metric.observer) for side in ("generated", "real"))
        made_by = {"metric": metric.name, "options": metric.options}
        for key, summary in _summaries(metric, generated, real).items():
            if isinstance(summary, NotComputed):
                absent[key] = summary
            else:
                computed[key] = replace(
                    summary,
                    warnings=(*summary.warnings, *shared.values()),
                    warning_codes={**summary.warning_codes, **shared},
                    made_by=made_by,
                )
    return Evaluation(corpora, clips, computed, absent)


def _summaries(
    metric: Metric, generated: Sequence[Observation], real: Sequence[Observation]
) -> dict[str, Summary | NotComputed]:
    """Return what a metric makes of its observations; what cannot stand in summary.json is not computed.

    Raises:
        SlmEvalError: the code of another package failed; the message names it.
    """
    with PLUGINS.others_code(metric.name):
        summaries = metric.summarise(generated, real)
        silent = {key: NotComputed("summarise() gave nothing under this key") for key in metric.keys}
        return silent | {key: _checked(key, summary) for key, summary in summaries.items()}


def _checked(key: str, summary: Summary | NotComputed) -> Summary | NotComputed:
    """Return a summary, or why it cannot be written; what reads a run refuses the same."""
    if isinstance(summary, NotComputed):
        return summary
    values = summary.to_dict()
    field = malformed(values, METRIC)
    if field is not None:
        return NotComputed(
            f"its {field} is {repr(values[field])[:80]}; expected {EXPECTED.get(field, 'what docs/files.md says')}"
        )
    absent = lacking(values)
    if absent:
        return NotComputed(f"kind {summary.kind!r} needs {', '.join(absent)}; use ScoreMetric or kind='corpus'")
    if not is_key(key, summary.kind):
        return NotComputed(
            f"its key is {key!r}; expected up to 100 visible ASCII characters, and a name of slm-eval only where it is "
            "of that kind"
        )
    if summary.ci95 is not None and not summary.ci95[0] <= summary.value <= summary.ci95[1]:
        return NotComputed(f"its ci95 is {summary.ci95!r}; expected the value, {summary.value!r}, between its ends")
    try:
        Signature.parse(summary.signature)
    except SlmEvalError as error:
        return NotComputed(str(error))
    return summary


def _warn_of_shared_clips(clips: dict[str, list[ClipResult]]) -> dict[str, str]:
    """Return a line, by its code, where the same audio is on both sides.

    It makes generated speech look real: too low a divergence, too small an interval.
    """
    real = {clip.sound.content for clip in clips["real"]}
    shared = sum(clip.sound.content in real for clip in clips["generated"] if clip.sound.content)
    if not shared:
        return {}
    return {SHARED_AUDIO: f"{shared} of {len(clips['generated'])} generated clips hold the same audio as real ones"}


def _corpus(source: str | os.PathLike[str] | Corpus) -> Corpus:
    return source if isinstance(source, Corpus) else load_corpus(source)
