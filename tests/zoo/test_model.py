"""The network against loops over numbers written from the formulas alone, and what must hold of it by construction."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.nn.attention import SDPBackend

from model_zoo.cdslm.attention import attention_backends
from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.init import initial_value, initialize
from model_zoo.cdslm.layers import time_condition, time_waves
from model_zoo.cdslm.model import MMDiT
from model_zoo.cdslm.rope import Rotation, positions, rotate, rotation
from slm_eval.errors import UsageError

TINY = ModelConfig(layers=2, width=16, head_dim=8)
CPU = torch.device("cpu")
TAUS = torch.tensor([999.0, 0.25])


def randomized(config: ModelConfig, seed: int = 0, mels: int = 80) -> MMDiT:
    """A network none of whose parameters is 0 or 1, with velocities near 1: 1e-5 means the same of each."""
    model = MMDiT(config, mels)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 1 / math.sqrt(parameter.shape[-1]) if parameter.ndim == 2 else 0.3
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + (parameter == 1))
        model.final.weight *= config.width_multiplier
    return model


def clips(batch: int, context: int, generation: int, mels: int = 80) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return (
        torch.randn(batch, context, mels, generator=generator),
        torch.randn(batch, generation, mels, generator=generator),
    )


# ---- the formulas, in loops ----


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


# ---- sampling ----


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


# ---- samples do not know of each other, frames do ----


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


def test_noise_levels_next_to_each_other_are_told_apart() -> None:
    """In bfloat16 they would be one: 256 values are left between 512 and 1000."""
    model = randomized(TINY)
    context, noisy = clips(1, 5, 6)
    taus = torch.tensor([998.0, 999.0])
    v = model(context.expand(2, -1, -1), noisy.expand(2, -1, -1), taus)
    assert (v[0] - v[1]).abs().max() > 1e-3
    with pytest.raises(UsageError, match=r"noise levels are float32, got torch\.bfloat16"):
        model(context, noisy, taus[:1].bfloat16())


# ---- positions ----


@pytest.mark.parametrize(
    ("kind", "context", "generation"),
    [
        ("time_axis", [0, 3], [6, 9, 12]),
        ("shared", [0, 1], [2, 3, 4]),
        ("per_stream", [0, 3], [0, 3, 6]),
    ],
)
def test_positions_of_two_and_three_tokens_of_three_frames(
    kind: str, context: list[int], generation: list[int]
) -> None:
    found = positions(kind, 2, 3, 3, CPU)  # type: ignore[arg-type]
    assert [each.tolist() for each in found] == [context, generation]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(-2000, 2000))
def test_attention_depends_on_distances_alone(first: int, second: int, shift: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 64, generator=generator)

    def score(*where: int) -> Tensor:
        turned = [rotate(x, rotation(torch.tensor([at]), 64)) for x, at in zip((query, key), where, strict=True)]
        torch.testing.assert_close(turned[0].norm(), query.norm())
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(score(first, second), score(first + shift, second + shift), atol=1e-4, rtol=0)


def test_tables_that_were_cast_are_refused() -> None:
    """bfloat16 would turn neighbours by the same angle."""
    cast = Rotation(*(table.bfloat16() for table in rotation(torch.arange(3), 8)))
    with pytest.raises(UsageError, match=r"tables of rotary positions are float32, got torch\.bfloat16"):
        rotate(torch.zeros(1, 3, 1, 8), cast)


# ---- patches ----


def test_what_no_patch_takes_is_the_oldest_of_the_context() -> None:
    model = randomized(replace(TINY, patch=3))
    context, noisy = clips(2, 11, 6)
    assert torch.equal(model(context, noisy, TAUS), model(context[:, 2:], noisy, TAUS))
    with pytest.raises(UsageError, match="patches of 3 frames do not divide 7 frames; take 6 frames"):
        model(context, torch.zeros(2, 7, 80), TAUS)
    with pytest.raises(UsageError, match="the context has 2 frames, a token takes 3"):
        model(context[:, :2], noisy, TAUS)


# ---- initial weights ----


def test_a_new_network_answers_zero() -> None:
    assert torch.equal(MMDiT(TINY)(*clips(2, 5, 6), TAUS), torch.zeros(2, 6, 80))


def test_from_the_meta_device_nothing_is_left_as_it_was() -> None:
    with torch.device("meta"):
        model = MMDiT(TINY, seed=5)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    initialize(model, seed=5)
    direct = MMDiT(TINY, seed=5).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, direct[name])
    assert list(model.buffers()) == []


def test_initial_values_are_completep_s() -> None:
    """Standard deviations by the table in section 8 of the reference, within 3 % on 10,000 values and more."""
    fan_in = {"ctx_in": 80, "gen_in": 80, "0": 256, "2": 128, "qkv": 128, "out": 128, "fc1": 128, "fc2": 512}
    seen = set()
    for name, parameter in MMDiT(ModelConfig(layers=1), seed=1).state_dict().items():
        *_, module, kind = name.split(".")
        seen.add(module)
        if kind == "bias" or module in ("adaln", "final_adaln", "final"):
            assert not parameter.any(), name
        elif module in ("q_norm", "k_norm"):
            assert (parameter == 1).all()
        else:
            assert float(parameter.std()) == pytest.approx(fan_in[module] ** -0.5, rel=0.03), name
            assert abs(float(parameter.mean())) < 0.03 * fan_in[module] ** -0.5
    assert seen == {*fan_in, "adaln", "final_adaln", "final", "q_norm", "k_norm"}


def test_initial_values_depend_on_name_and_seed_alone() -> None:
    name = "blocks.1.generation.fc1.weight"
    here = dict(MMDiT(TINY, seed=3).named_parameters())[name]
    assert torch.equal(here, initial_value(name, tuple(here.shape), 3))
    assert not torch.equal(here, initial_value(name, tuple(here.shape), 4))
    assert not torch.equal(here, initial_value("blocks.0.generation.fc1.weight", tuple(here.shape), 3))


# ---- gradients ----


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


# ---- precision and kernels ----


def test_bfloat16_leaves_the_noise_level_alone() -> None:
    model = randomized(TINY)
    exact = time_condition(model.t_mlp, TAUS)
    assert exact.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(time_condition(model.t_mlp, TAUS), exact)
    assert time_waves(TAUS).dtype == torch.float32


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


def test_kernels_in_order() -> None:
    assert attention_backends("cuda:0")[:2] == [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION]
    assert attention_backends("cpu") == [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
