"""The network against loops over numbers written from the formulas alone, and what must hold of it by construction."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.model import MMDiT
from tests.zoo.cdslm.made_networks import TAUS, TINY, clips, randomized


class ByHand:
    """One sample, in float64, as the reference document writes it; no line is shared with the network."""

    def __init__(self, model: MMDiT) -> None:
        self.config = model.config
        self.weights = {name: each.detach().double().numpy() for name, each in model.state_dict().items()}

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.weights[f"{name}.weight"] @ x + self.weights[f"{name}.bias"]

    @staticmethod
    def silu(x: np.ndarray) -> np.ndarray:
        return x / (1 + np.exp(-x))

    @staticmethod
    def gelu(x: np.ndarray) -> np.ndarray:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    @staticmethod
    def norm(x: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return (x - x.mean()) / math.sqrt(x.var() + 1e-6) * (1 + scale) + shift

    def turned(self, x: np.ndarray, position: int) -> np.ndarray:
        h, y = len(x), np.zeros_like(x)
        if self.config.positions == "none":
            return x
        for j in range(h // 2):
            a = position * 10_000 ** (-2 * j / h)
            y[j] = x[j] * math.cos(a) - x[j + h // 2] * math.sin(a)
            y[j + h // 2] = x[j] * math.sin(a) + x[j + h // 2] * math.cos(a)
        return y

    def position(self, stream: str, i: int, n_context: int) -> int:
        if self.config.positions == "per_stream" or stream == "context":
            n_context = 0
        return (n_context + i) * (1 if self.config.positions == "shared" else self.config.patch)

    def __call__(self, context: np.ndarray, noisy: np.ndarray, tau: float) -> np.ndarray:
        config, k = self.config, self.config.patch
        d, h = config.d, config.head_dim
        waves = [f(tau * 1e4 ** (-j / 128)) for f in (math.cos, math.sin) for j in range(128)]
        c = self.silu(self.linear("t_mlp.2", self.silu(self.linear("t_mlp.0", np.array(waves)))))
        context = context[len(context) % k :]
        tokens = {
            stream: [self.linear(layer, x[i : i + k].ravel()) for i in range(0, len(x), k)]
            for stream, layer, x in (("context", "ctx_in", context), ("generation", "gen_in", noisy))
        }
        n_context = len(tokens["context"])
        m_depth, m_width = config.layers / config.base_layers, d / config.base_width
        for layer in range(config.layers):
            ada, heads = {}, []  # one entry of (stream, index, q, k, v) for each token, by head
            for stream, xs in tokens.items():
                name = f"blocks.{layer}.{stream}"
                ada[stream] = self.linear(f"{name}.adaln", c).reshape(-1, d)
                for i, x in enumerate(xs):
                    qkv = self.linear(f"{name}.qkv", self.norm(x, *ada[stream][:2])).reshape(3, config.heads, h)
                    if config.qk_norm:
                        for which, gain in enumerate(("q_norm", "k_norm")):
                            for head in range(config.heads):
                                rms = math.sqrt(np.mean(qkv[which, head] ** 2) + 1e-6)
                                qkv[which, head] *= self.weights[f"{name}.{gain}.weight"] / rms
                    for which in range(2):
                        for head in range(config.heads):
                            qkv[which, head] = self.turned(qkv[which, head], self.position(stream, i, n_context))
                    heads.append((stream, i, *qkv))
            for stream, i, q, _, _ in heads:
                if stream == "context" and layer == config.layers - 1:
                    continue
                read = []
                for head in range(config.heads):
                    score = np.array([q[head] @ keys[head] for _, _, _, keys, _ in heads]) / math.sqrt(h)
                    share = np.exp(score) / np.exp(score).sum()
                    read.append(sum(s * value[head] for s, (*_, value) in zip(share, heads, strict=True)))
                name = f"blocks.{layer}.{stream}"
                _, _, gate1, shift2, scale2, gate2 = ada[stream]
                x = tokens[stream][i]
                x = x + gate1 * self.linear(f"{name}.out", np.concatenate(read)) / m_depth
                hidden = self.gelu(self.linear(f"{name}.fc1", self.norm(x, shift2, scale2)))
                tokens[stream][i] = x + gate2 * self.linear(f"{name}.fc2", hidden) / m_depth
        shift, scale = self.linear("final_adaln", c).reshape(2, d)
        out = [self.linear("final", self.norm(x, shift, scale) / m_width) for x in tokens["generation"]]
        return np.concatenate(out).reshape(len(noisy), -1)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(layers=1),
        TINY,
        replace(TINY, base_width=16, base_layers=1, qk_norm=False),
        replace(TINY, layers=3, patch=2, last_context_block="sd3"),
        replace(TINY, patch=3, positions="shared", last_context_block="full"),
        replace(TINY, patch=2, positions="per_stream", head_dim=16),
        replace(TINY, positions="none"),
    ],
    ids=str,
)
def test_equal_to_the_formulas(config: ModelConfig) -> None:
    model = randomized(config)
    context, noisy = clips(2, 7, 6)
    v = model(context, noisy, TAUS).detach().numpy()
    assert 0.1 < v.std() < 10
    for i in range(2):
        by_hand = ByHand(model)(context[i].double().numpy(), noisy[i].double().numpy(), float(TAUS[i]))
        np.testing.assert_allclose(v[i], by_hand, atol=1e-5)


@pytest.mark.parametrize(
    "config", [TINY, replace(TINY, patch=3, last_context_block="sd3"), replace(TINY, positions="none")], ids=str
)
def test_every_prepared_step_is_the_forward_pass(config: ModelConfig) -> None:
    model = randomized(config)
    contexts, x = clips(2, 9, 6)
    taus = torch.tensor([999.0, 500.5, 3.0])
    velocity = model.prepare(contexts, taus)
    for step in (0, 1, 2, 1):
        expected = model(contexts, x, taus[step].expand(2))
        torch.testing.assert_close(velocity(x, step), expected, atol=1e-5, rtol=0)
    assert not velocity(x, 0).requires_grad
    assert velocity(x[:, :3], 0).shape == (2, 3, 80)  # another length: other positions, the same tables of AdaLN


def test_a_step_computes_neither_context_nor_noise_level_again() -> None:
    model = randomized(TINY)
    contexts, x = clips(1, 4, 4)
    velocity = model.prepare(contexts, TAUS)
    once = [model.ctx_in, model.t_mlp[0], model.t_mlp[2], model.final_adaln]
    once += [layer for name, layer in model.named_modules() if name.endswith("adaln")]
    with torch.no_grad():
        expected = velocity(x, 1).clone()
        for layer in once:
            layer.weight.fill_(torch.nan)
    assert torch.equal(velocity(x, 1), expected)


def test_a_batch_never_changes_a_sample() -> None:
    model = randomized(TINY)
    context, noisy = clips(4, 5, 6)
    taus = torch.tensor([1.0, 999.0, 500.0, 20.0])
    together = model(context, noisy, taus)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(model(context[order], noisy[order], taus[order]), together[order], atol=1e-5, rtol=0)
    for i in range(4):
        alone = model(context[i : i + 1], noisy[i : i + 1], taus[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=0)


def test_every_frame_is_heard_by_every_generated_frame() -> None:
    model = randomized(TINY)
    context, noisy = clips(1, 5, 6)
    v = model(context, noisy, TAUS[:1])
    for stream, frame in ((context, 0), (context, 4), (noisy, 0), (noisy, 5)):
        changed = stream.clone()
        changed[0, frame, 3] += 1
        heard = (changed, noisy) if stream is context else (context, changed)
        difference = (model(*heard, TAUS[:1]) - v).abs().amax(dim=-1)[0]
        assert (difference > 1e-4).all()


@pytest.mark.parametrize("form", ["ours", "sd3", "full"])
def test_gradients_of_the_last_context(form: str) -> None:
    """Nobody reads the last context: its queries and the AdaLN chunks of its way back teach nothing."""
    config = replace(TINY, last_context_block=form)  # type: ignore[arg-type]
    model = randomized(config)
    model(*clips(2, 5, 6), TAUS).square().mean().backward()
    last = "blocks.1.context."
    unread = {f"{last}q_norm.weight"}
    if form == "full":
        unread |= {f"{last}{layer}.{kind}" for layer in ("out", "fc1", "fc2") for kind in ("weight", "bias")}
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name not in unread)
        if name in unread:
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all()
        rows = parameter.grad.reshape(len(parameter), -1).abs().amax(1) > 0
        silent = 0
        if name.startswith(f"{last}qkv"):
            silent = config.d  # queries
            assert not rows[: config.d].any()
        elif name.startswith(f"{last}adaln") and form != "sd3":
            silent = 4 * config.d  # all but shift and scale before keys and values
            assert not rows[2 * config.d :].any()
        assert int(rows.sum()) == len(rows) - silent, name


def test_it_learns_from_its_first_step_on() -> None:
    """Zero gates and a zero end let gradients through nevertheless."""
    model = MMDiT(replace(TINY, base_width=16))
    context, noisy = clips(2, 5, 6)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-2)
    losses = []
    for _ in range(40):
        loss = (model(context, noisy, TAUS) - noisy).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_bfloat16_is_close_and_answers_in_float32(how: str) -> None:
    model = randomized(replace(TINY, base_width=16))
    context, noisy = clips(2, 5, 6)
    exact = model(context, noisy, TAUS).detach()
    if how == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            v, velocity = model(context, noisy, TAUS).detach(), model.prepare(context, TAUS)
            step = velocity(noisy, 1)
    else:
        model.bfloat16()
        v, velocity = model(context, noisy, TAUS).detach(), model.prepare(context, TAUS)
        step = velocity(noisy, 1)
    assert v.dtype == step.dtype == torch.float32
    assert 0 < float((v - exact).square().mean().sqrt()) < 0.03 * float(exact.std())
    assert float((step[1] - exact[1]).square().mean().sqrt()) < 0.03 * float(exact.std())


def test_blocks_compile_whole_into_two_graphs() -> None:
    """All blocks but the last share one; no break, no new graph from step to step, no change of names."""
    config = replace(TINY, layers=4)
    eager, compiled, counter = randomized(config), randomized(config), CompileCounter()
    compiled.compile_blocks(backend=counter)
    context, noisy = clips(2, 5, 6)
    assert torch.equal(compiled(context, noisy, TAUS), eager(context, noisy, TAUS))
    assert counter.frame_count == 2
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    taus = torch.linspace(900, 0, 4)
    velocity, expected = compiled.prepare(context, taus), eager.prepare(context, taus)
    for step in range(4):
        assert torch.equal(velocity(noisy, step), expected(noisy, step))
    assert counter.frame_count == 4
