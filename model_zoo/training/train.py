"""Train a CD-SLM: the main path of ``slm-zoo train``, read from top to bottom.

    slm-zoo train model_zoo/configs/ladder/L4.yaml -o runs/L4 data.shards=shards steps=20000
    torchrun --nproc-per-node 8 -m model_zoo train CONFIG.yaml -o DIR

Everything random is a function of (seed, step, index in the global batch). So a run that was stopped at any moment goes
on to the same bits, and the number of processes, or of parts of a batch, changes nothing but rounding. The device is
waited for where something is logged, not before.
"""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from model_zoo.cdslm import checkpoint
from model_zoo.cdslm.flops import Tokens, flops_6nd, parameter_count, training_flops, utilization
from model_zoo.cdslm.loss import DiffusionLoss
from model_zoo.cdslm.memory import largest_batch
from model_zoo.cdslm.mup import parameter_groups
from model_zoo.data.feed import Batch, Feed
from model_zoo.data.shards import MelShards
from model_zoo.data.windows import Windows
from model_zoo.features import FeatureSpec
from model_zoo.training.checkpoints import Checkpoints, optimizer_state
from model_zoo.training.config import TrainConfig, to_dict
from model_zoo.training.ema import Average
from model_zoo.training.folder import claim, read_json, write_json
from model_zoo.training.logs import open_log
from model_zoo.training.meter import Clock, Meter
from model_zoo.training.parallel import build, whole
from model_zoo.training.ranks import Ranks, ranks, reading_threads
from model_zoo.training.scores import Scores
from model_zoo.training.stopping import Stop, stopping
from model_zoo.training.validation import Validation, joined, validate
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.lock import exclusive

_VALIDATION_BATCH = 8  # pairs of clip and noise level at once, on each rank


def train(config: TrainConfig, output: Path, device: str = "auto", stop: Stop | None = None) -> dict[str, Any] | None:
    """Train, or go on with a run that was stopped.

    Args:
        output: the folder of the run, see ``training.folder``.
        device: auto, cpu or cuda:0; torchrun's processes take one GPU each.
        stop: notes by which signal it was stopped.

    Returns:
        The content of result.json; None if SIGTERM or Ctrl-C came, after what was reached had been saved.

    Raises:
        UsageError: the folder holds another run, the batch cannot be shared equally, or there is too little data.
        SlmEvalError: the loss became NaN, memory or disk ran out, or all checkpoints are damaged.
    """
    if not config.data.shards:
        raise UsageError("there is nothing to train on: give data.shards=DIR, a folder of slm-zoo prepare")
    with ExitStack() as stack:
        here = stack.enter_context(ranks(device))
        stop = stack.enter_context(stopping(stop or Stop()))
        stack.enter_context(_deterministic(config.deterministic))
        stack.enter_context(_alone(output, here))
        run = Run(config, output, here)
        start = run.resume()
        if start == config.steps and (output / "result.json").is_file():
            return read_json(output / "result.json")
        if here.first:
            print(run.about(start), file=sys.stderr, flush=True)
        log = stack.enter_context(open_log(output, config, start, here.first))
        scores = stack.enter_context(Scores(config.score, output / "scores", log, here))
        feed = stack.enter_context(run.feed(start))
        stack.enter_context(_memory(config, here))
        for step in range(start + 1, config.steps + 1):  # steps that are done at the end of this turn
            run.step(next(feed))
            last, stopped = step == config.steps, here.any(stop.asked)
            if step == start + 1:
                stack.enter_context(_without_garbage_collection())
            if last or step % config.log_every == 0:
                log.write("train", step, run.measured(step))
            if last or step % config.validate_every == 0:
                with run.clock.paused():
                    log.write("validation", step, run.validate(step))
            if config.score.every and (last or step % config.score.every == 0):
                with run.clock.paused():
                    scores.begin(step, run.export)
            if last or stopped or step % config.checkpoint_every == 0:
                with run.clock.paused():
                    run.save(step)
            if stopped and not last:
                run.checkpoints.wait()
                return None
        run.checkpoints.wait()
        if not run.latest:  # stopped between its last checkpoint and here
            run.validate(config.steps)
        run.export(output / "model.safetensors", config.steps)
        result = run.result()
        if here.first:
            write_json(output / "result.json", result)
    return result


class Run:
    """The state of a training, and what is done with it.

    Raises:
        UsageError: see ``train``.
    """

    def __init__(self, config: TrainConfig, output: Path, here: Ranks) -> None:
        self.config, self.output, self.ranks = config, output, here
        self.first, self.count = here.share(config.batch)
        self.tokens = Tokens.of(config.model)
        self.shards = MelShards.open(config.data.shards, FeatureSpec(mel_floor=config.data.mel_floor))
        lengths = config.model.context_frames, config.model.target_frames
        self.windows = Windows(self.shards, "train", *lengths, config.seed, config.data.short)
        held_out = Windows(self.shards, "validation", *lengths, short=config.data.short)
        self.clips = held_out.validation(config.data.validation_clips)
        if here.first:
            claim(output, config, self.shards.digest)
        here.barrier()

        self.model = build(config, self.shards.spec.n_mels, here)
        options = config.optimizer
        groups = parameter_groups(self.model, options.learning_rate, options.weight_decay, options.epsilon)
        self.rates = [group["lr"] for group in groups]
        self.optimizer = torch.optim.AdamW(groups, betas=(options.beta1, options.beta2), fused=True)
        self.average = Average(self.model, config.ema)
        self.loss = DiffusionLoss.of(config.diffusion, here.device)
        self.meter, self.clock = Meter(here), Clock(here.device)
        self.best = torch.tensor([math.inf, 0.0], dtype=torch.float64)  # lowest validation loss, and its step
        self.latest: dict[str, Any] = {}  # validation
        self.checkpoints = Checkpoints(output / "checkpoints", here, config.keep)

    def about(self, start: int) -> str:
        """What is trained, on what, for people; a line or more."""
        model, seconds = self.config.model, self.windows.frames / self.shards.spec.frame_rate
        parts = [
            f"{parameter_count(model, self.shards.spec.n_mels):,} parameters, {model.layers} layers of {model.d}",
            f"{self.shards.hours('train'):,.2f} h of speech, {len(self.clips)} windows to validate",
            f"{self.config.steps} steps of {self.config.batch} windows of {seconds:g} s",
            f"{self.ranks.device} of {self.ranks.world} process(es)",
        ]
        lines = ["; ".join(parts)]
        if self.windows.left_out:
            short = f"{len(self.windows.left_out)} recordings are shorter than a window and left out"
            lines.append(f"{short}; data.short=pad takes them")
        if start:
            lines.append(f"going on from step {start}")
        return "\n".join(lines)

    def state(self) -> dict[str, Any]:
        """All that a run goes on from. Windows, noise and noise levels are not in it: they follow from the step."""
        return {
            "model": dict(self.model.named_parameters()),
            "optimizer": optimizer_state(self.model, self.optimizer),
            "average": self.average.weights,
            "meter": self.meter.state(),
            "run": {"best": self.best, "seconds": self.clock.seconds},
        }

    def resume(self) -> int:
        """Go on from the newest undamaged checkpoint; the steps that are done."""
        state = self.state()
        step = self.checkpoints.load_latest(state) or 0
        self.meter.restore(state["meter"])
        seconds = self.clock.seconds
        self.clock = Clock(self.ranks.device, step)
        self.clock.seconds = seconds
        return step

    def feed(self, start: int) -> Feed:
        """Batches of this rank from a step on."""
        config = self.config
        share, where = (self.first, self.count), self.ranks.device
        steps, threads = config.diffusion.steps, config.data.threads or reading_threads()
        return Feed(self.windows, steps, config.batch, *share, config.seed, where, start, threads)

    def step(self, batch: Batch) -> None:
        """One step of the optimizer. Nothing here waits for the device."""
        factor = self.config.optimizer.factor(batch.step, self.config.steps)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = factor * rate
        loss, levels = self._gradients(batch)
        norm = self._clip()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.model, batch.step)
        self.meter.add(batch.step, loss, norm, levels)

    def _gradients(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of the mean loss over this rank's share, in parts that fit in memory: the loss, and errors by noise level.

        FSDP adds up gradients over ranks after each part: later would be less traffic, but whole gradients in memory.
        """
        size = self.config.micro_batch or self.count
        losses, levels = [], []
        for begin in range(0, self.count, size):
            part = slice(begin, begin + size)
            t = batch.t[part]
            noisy, target = self.loss.noised(batch.target[part], batch.noise[part], t)
            with torch.autocast(t.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
                predicted = self.model(batch.context[part], noisy, self.loss.taus(t))
            found = self.loss(predicted, target, t)
            value = found.value * (len(t) / self.count)
            value.backward()
            losses.append(value.detach())
            levels.append(found.levels)
        return torch.stack(losses).sum(), torch.stack(levels).sum(0)

    def _clip(self) -> Tensor:
        """Scale all gradients together down to the norm that is allowed; what it was."""
        largest = self.config.optimizer.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), largest)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def measured(self, step: int) -> dict[str, Any]:
        """Means since the last line of the log, and all that was done so far. Waits for the device.

        Raises:
            SlmEvalError: a loss was NaN or infinite.
        """
        self._require_finite()
        values, (steps, seconds) = self.meter.read(), self.clock.lap(step)
        options = self.config.optimizer
        rate = options.learning_rate * options.factor(step - 1, self.config.steps)
        return {**values, "learning_rate": rate, **self.done(step), **self._speed(steps, seconds)}

    def done(self, step: int) -> dict[str, Any]:
        """What so many steps have cost. D counts the tokens of both streams [choice]; hours count both too."""
        model, samples = self.config.model, step * self.config.batch
        frames = model.context_frames + model.target_frames
        return {
            "samples": samples,
            "frames_seen": samples * frames,
            "tokens_seen": samples * self.tokens.all,
            "target_tokens_seen": samples * self.tokens.generation,
            "hours_seen": samples * frames / self.shards.spec.frame_rate / 3600,
            "flops_6nd": samples * flops_6nd(model, self.tokens, self.shards.spec.n_mels),
            "flops_hw": samples * training_flops(model, self.tokens, self.shards.spec.n_mels),
            "seconds": float(self.clock.seconds),
        }

    def _speed(self, steps: int, seconds: float) -> dict[str, Any]:
        samples = steps * self.config.batch / seconds
        speed: dict[str, Any] = {"samples_per_second": samples, "tokens_per_second": samples * self.tokens.all}
        if self.ranks.device.type == "cuda":
            true = samples * training_flops(self.config.model, self.tokens, self.shards.spec.n_mels)
            name = torch.cuda.get_device_name(self.ranks.device)
            speed["mfu"] = utilization(true, name, self.ranks.world).value
            speed["peak_memory_gib"] = torch.cuda.max_memory_allocated(self.ranks.device) / 2**30
        return speed

    def validate(self, step: int) -> dict[str, Any]:
        """The fixed protocol, with the last weights and with averaged ones, each clip by one of the ranks."""
        self._require_finite()
        self.latest = _told("", self._validation())
        if self.average.weights:
            with self.average.applied(self.model):
                self.latest |= _told("ema_", self._validation())
        value = self.latest.get("ema_loss", self.latest["loss"])
        if value < self.best[0]:
            self.best.copy_(torch.tensor([value, step]))
        return self.latest

    def _validation(self) -> Validation:
        world, rank = self.ranks.world, self.ranks.rank
        # As many clips on every rank, since all take part in every forward pass; some are then done twice.
        rounds = math.ceil(len(self.clips) / world)
        mine = [self.clips[(rank + turn * world) % len(self.clips)] for turn in range(rounds)]
        self.model.eval()
        with torch.compiler.set_stance("force_eager"):  # two more graphs would take longer than they save
            part = validate(self.model, mine, self.loss, batch_size=_VALIDATION_BATCH)
        self.model.train()
        return joined(self.ranks.gather(part), [clip.id for clip in self.clips], self.loss)

    def save(self, step: int) -> None:
        """A checkpoint, written in the background. The best validated one stays."""
        self._require_finite()
        best = int(self.best[1])
        self.checkpoints.save(step, self.state(), protected=best or None)

    def export(self, path: Path, step: int) -> None:
        """The model by itself, for ``slm-zoo sample``; all ranks take part."""
        weights = whole(dict(self.model.named_parameters()), self.ranks)
        averaged = whole(self.average.weights, self.ranks)
        if self.ranks.first:
            facts = {"step": step, "seed": self.config.seed, "run": self.config.digest(self.shards.digest)}
            facts |= {key: value for key, value in self.latest.items() if isinstance(value, float)}
            model, diffusion, spec = self.config.model, self.config.diffusion, self.shards.spec
            checkpoint.save(path, model, weights, diffusion, spec, self.shards.normalizer, facts, averaged or None)

    def result(self) -> dict[str, Any]:
        """What result.json holds."""
        validation = {key: value for key, value in self.latest.items() if not isinstance(value, list)}
        return {
            "steps": self.config.steps,
            "seed": self.config.seed,
            "parameters": parameter_count(self.config.model, self.shards.spec.n_mels),
            "loss": validation.get("ema_loss", validation["loss"]),
            "validation": validation,
            **self.done(self.config.steps),
            "config": to_dict(self.config),
            "shards": self.shards.digest,
        }

    def _require_finite(self) -> None:
        bad = self.meter.bad_step()
        if bad is None:
            return
        names = self.windows.names(bad, 0, self.config.batch)
        if self.ranks.first:
            write_json(self.output / "not-finite.json", {"step": bad, "windows": names})
        self.checkpoints.wait()
        saved = self.checkpoints.steps()
        good = f"the last good checkpoint is {self.checkpoints.path(saved[-1])}" if saved else "no checkpoint was saved"
        raise SlmEvalError(
            f"the loss is not finite at step {bad}, in a batch of {len(names)} windows from {names[0]} on (all in "
            f"{self.output / 'not-finite.json'}); {good}; lower optimizer.learning_rate, or look at these recordings"
        )


def _told(prefix: str, found: Validation) -> dict[str, Any]:
    return {
        f"{prefix}loss": found.loss,
        f"{prefix}v_mse": found.v_mse,
        f"{prefix}v_mse_by_level": found.by_level.tolist(),
        "protocol": found.protocol,
        "clips": len(found.ids),
    }


@contextmanager
def _alone(output: Path, here: Ranks) -> Iterator[None]:
    """No other training writes to this folder.

    Raises:
        UsageError: one does.
    """

    def refuse() -> None:
        raise UsageError(f"another training is at work in {output}; wait for it, or take another folder")

    with exclusive(output / ".lock", refuse) if here.first else nullcontext():
        yield


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Steps make no cycles; looking for them among a network's many objects stops every rank at another moment."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def _memory(config: TrainConfig, here: Ranks) -> Iterator[None]:
    """Say what to lower where a GPU's memory does not suffice.

    Raises:
        SlmEvalError: instead of torch's error of many lines.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        total = torch.cuda.get_device_properties(here.device).total_memory
        fits = largest_batch(config.model, Tokens.of(config.model), total, config.precision, training=True)
        now = config.micro_batch or config.batch // here.world
        lower = (
            f"micro_batch={max(1, min(fits, now // 2))}" if now > 1 else "activation_checkpointing=true or more GPUs"
        )
        raise SlmEvalError(
            f"the GPU's memory ({total / 2**30:.0f} GiB) does not hold {now} samples at once; try {lower}; "
            "the same command continues"
        ) from error
