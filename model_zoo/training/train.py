"""Train a CD-SLM: the main path of ``slm-zoo train``, read from top to bottom.

    slm-zoo train model_zoo/configs/ladder/L4.yaml -o runs/L4 data.shards=shards steps=20000
    torchrun --nproc-per-node 8 -m model_zoo train CONFIG.yaml -o DIR

Everything random is a function of (seed, step, index in the global batch). So a run that was stopped at any moment goes
on to the same bits, and the number of ranks, or of micro-batches, changes nothing but rounding. The device is waited
for where something is logged, not before.
"""

from __future__ import annotations

import math
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from model_zoo.cdslm import checkpoint
from model_zoo.cdslm.flops import parameter_count
from model_zoo.cdslm.loss import DiffusionLoss
from model_zoo.cdslm.mup import parameter_groups
from model_zoo.data.feed import Batch, Feed
from model_zoo.data.shards import MelShards
from model_zoo.data.windows import Windows
from model_zoo.features import FeatureSpec
from model_zoo.training.checkpoints import Checkpoints, optimizer_state
from model_zoo.training.config import TrainConfig, to_dict
from model_zoo.training.ema import Average
from model_zoo.training.folder import claim, read_json, write_json
from model_zoo.training.guards import (
    alone_in,
    deterministic_if,
    memory_advice,
    refuse_not_finite,
    without_garbage_collection,
)
from model_zoo.training.logs import open_log
from model_zoo.training.meter import Clock, Meter
from model_zoo.training.parallel import build, whole
from model_zoo.training.ranks import Ranks, process_group, reading_threads
from model_zoo.training.reporting import Costs, introduction, validation_record
from model_zoo.training.scores import Scores
from model_zoo.training.stopping import Stop, stopping
from model_zoo.training.validation import Validation, validate_together
from slm_eval.base.errors import UsageError


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
        # 1. Who trains, alone in its folder, and from where on.
        ranks = stack.enter_context(process_group(device))
        stop = stack.enter_context(stopping(stop or Stop()))
        stack.enter_context(deterministic_if(config.deterministic))
        stack.enter_context(alone_in(output, ranks))
        run = Run(config, output, ranks)
        start = run.resume()
        if start == config.steps and (output / "result.json").is_file():
            return read_json(output / "result.json")
        if ranks.first:
            about = introduction(config, run.shards, run.windows, len(run.clips), ranks, start)
            print(about, file=sys.stderr, flush=True)
        log = stack.enter_context(open_log(output, config, start, ranks.first))
        scores = stack.enter_context(Scores(config.score, output / "scores", log, ranks))
        feed = stack.enter_context(run.feed(start))
        stack.enter_context(memory_advice(config, ranks))

        # 2. Steps, counted by those that are done at the end of a turn.
        for step in range(start + 1, config.steps + 1):
            run.step(next(feed))
            last, stopped = step == config.steps, ranks.any(stop.asked)
            if step == start + 1:
                stack.enter_context(without_garbage_collection())
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

        return run.finish()


class Run:
    """The state of a training, and what is done with it.

    Raises:
        UsageError: see ``train``.
    """

    def __init__(self, config: TrainConfig, output: Path, ranks: Ranks) -> None:
        self.config, self.output, self.ranks = config, output, ranks
        self.first, self.count = ranks.share(config.batch)

        # Data: windows to train on, and a fixed set of clips to validate with.
        self.shards = MelShards.open(config.data.shards, FeatureSpec(mel_floor=config.data.mel_floor))
        frames = config.model.context_frames, config.model.target_frames
        self.windows = Windows(self.shards, "train", *frames, config.seed, config.data.short)
        held_out = Windows(self.shards, "validation", *frames, short=config.data.short)
        self.clips = held_out.validation(config.data.validation_clips)
        if ranks.first:
            claim(output, config, self.shards.digest)
        ranks.barrier()

        # Network, optimizer, loss.
        self.model = build(config, self.shards.spec.n_mels, ranks)
        options = config.optimizer
        groups = parameter_groups(self.model, options.learning_rate, options.weight_decay, options.epsilon)
        self.rates = [group["lr"] for group in groups]
        self.optimizer = torch.optim.AdamW(groups, betas=(options.beta1, options.beta2), fused=True)
        self.average = Average(self.model, config.ema)
        self.loss = DiffusionLoss.from_config(config.diffusion, ranks.device)

        # What is measured and kept.
        self.meter, self.clock, self.costs = Meter(ranks), Clock(ranks.device), Costs(config, self.shards.spec)
        self.best = torch.tensor([math.inf, 0.0], dtype=torch.float64)  # lowest validation loss, and its step
        self.latest: dict[str, Any] = {}  # validation
        self.checkpoints = Checkpoints(output / "checkpoints", ranks, config.keep)

    def feed(self, start: int) -> Feed:
        """Return batches of this rank from a step on."""
        config = self.config
        share, device = (self.first, self.count), self.ranks.device
        steps, threads = config.diffusion.steps, config.data.threads or reading_threads()
        return Feed(self.windows, steps, config.batch, *share, config.seed, device, start, threads)

    def step(self, batch: Batch) -> None:
        """Take one step of the optimizer. Nothing here waits for the device."""
        config, model = self.config, self.model
        # 1. The learning rate of this step, in every group of CompleteP.
        factor = config.optimizer.factor(batch.step, config.steps)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = factor * rate

        # 2. Gradients of the mean loss over this rank's samples, in micro-batches that fit in memory. FSDP adds them up
        # over ranks after each: later would be less traffic, but whole gradients in memory.
        size = config.micro_batch or self.count
        losses, levels = [], []
        for begin in range(0, self.count, size):
            micro = slice(begin, begin + size)
            t = batch.t[micro]
            noisy, target = self.loss.noised(batch.target[micro], batch.noise[micro], t)
            with torch.autocast(t.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                predicted = model(batch.context[micro], noisy, self.loss.taus(t))
            loss, by_level = self.loss(predicted, target, t)
            loss = loss * (len(t) / self.count)
            loss.backward()
            losses.append(loss.detach())
            levels.append(by_level)

        # 3. One update of weights and averages, with gradients scaled down together to the norm that is allowed.
        norm = clip_gradients(model, config.optimizer.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(model, batch.step)
        self.meter.add(batch.step, torch.stack(losses).sum(), norm, torch.stack(levels).sum(0))

    def measured(self, step: int) -> dict[str, Any]:
        """Return means since the last line of the log, and all that was done so far. Waits for the device.

        Raises:
            SlmEvalError: a loss was NaN or infinite.
        """
        self._require_finite()
        values, (steps, seconds) = self.meter.read(), self.clock.lap(step)
        options = self.config.optimizer
        rate = options.learning_rate * options.factor(step - 1, self.config.steps)
        spent = self.costs.spent(step, float(self.clock.seconds))
        return {**values, "learning_rate": rate, **spent, **self.costs.speed(steps, seconds, self.ranks)}

    def validate(self, step: int) -> dict[str, Any]:
        """Run the fixed protocol, with the last weights and with averaged ones."""
        self._require_finite()
        self.latest = validation_record(self._validation())
        if self.average.weights:
            with self.average.applied(self.model):
                self.latest |= validation_record(self._validation(), "ema_")
        loss = self.latest.get("ema_loss", self.latest["loss"])
        if loss < self.best[0]:
            self.best.copy_(torch.tensor([loss, step]))
        return self.latest

    def _validation(self) -> Validation:
        self.model.eval()
        with torch.compiler.set_stance("force_eager"):  # two more graphs would take longer than they save
            validation = validate_together(self.model, self.clips, self.loss, self.ranks)
        self.model.train()
        return validation

    def state(self) -> dict[str, Any]:
        """Return all that a run goes on from. Windows, noise and noise levels follow from the step."""
        return {
            "model": dict(self.model.named_parameters()),
            "optimizer": optimizer_state(self.model, self.optimizer),
            "average": self.average.weights,
            "meter": self.meter.state(),
            "run": {"best": self.best, "seconds": self.clock.seconds},
        }

    def save(self, step: int) -> None:
        """Write a checkpoint, in the background. The best validated one stays."""
        self._require_finite()
        best = int(self.best[1])
        self.checkpoints.save(step, self.state(), protected=best or None)

    def resume(self) -> int:
        """Go on from the newest undamaged checkpoint; return the steps that are done."""
        state = self.state()
        step = self.checkpoints.load_latest(state) or 0
        self.meter.restore(state["meter"])
        seconds = self.clock.seconds
        self.clock = Clock(self.ranks.device, step)
        self.clock.seconds = seconds
        return step

    def export(self, path: Path, step: int) -> None:
        """Write the model by itself, for ``slm-zoo sample``; all ranks take part."""
        weights = whole(dict(self.model.named_parameters()), self.ranks)
        averaged = whole(self.average.weights, self.ranks)
        if self.ranks.first:
            facts = {"step": step, "seed": self.config.seed, "run": self.config.digest(self.shards.digest)}
            facts |= {key: value for key, value in self.latest.items() if isinstance(value, float)}
            model, diffusion, spec = self.config.model, self.config.diffusion, self.shards.spec
            checkpoint.save(path, model, weights, diffusion, spec, self.shards.normalizer, facts, averaged or None)

    def finish(self) -> dict[str, Any]:
        """Write what comes out of a run whose steps are done; return the content of result.json."""
        self.checkpoints.wait()
        if not self.latest:  # stopped between its last checkpoint and here
            self.validate(self.config.steps)
        self.export(self.output / "model.safetensors", self.config.steps)
        result = self._result()
        if self.ranks.first:
            write_json(self.output / "result.json", result)
        return result

    def _result(self) -> dict[str, Any]:
        validation = {key: value for key, value in self.latest.items() if not isinstance(value, list)}
        return {
            "steps": self.config.steps,
            "seed": self.config.seed,
            "parameters": parameter_count(self.config.model, self.shards.spec.n_mels),
            "loss": validation.get("ema_loss", validation["loss"]),
            "validation": validation,
            **self.costs.spent(self.config.steps, float(self.clock.seconds)),
            "config": to_dict(self.config),
            "shards": self.shards.digest,
        }

    def _require_finite(self) -> None:
        step = self.meter.bad_step()
        if step is not None:
            windows = self.windows.names(step, 0, self.config.batch)
            refuse_not_finite(step, windows, self.output, self.checkpoints, self.ranks)


def clip_gradients(model: torch.nn.Module, largest: float) -> Tensor:
    """Scale all gradients together down to a norm (0: any is allowed); return what it was."""
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), largest or math.inf)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
