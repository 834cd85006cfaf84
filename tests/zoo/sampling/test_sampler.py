"""The sampler against exact solutions, golden values and another implementation; and one sample per id, always."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from model_zoo.sampling.sampler import SamplerOptions, _update, continue_to, denoise, evaluations, sample
from model_zoo.sampling.solvers import coefficients, trailing_indices
from slm_eval.base.errors import UsageError
from tests.zoo.sampling.formula import Formula, schedule_of


class Network(nn.Module):
    """Mixes frames and bins, hears the context, and is told the step: all that a real one does, in little."""

    def __init__(self, bins: int = 80, width: int = 32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gen, self.ctx = nn.Linear(bins, width), nn.Linear(bins, width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.out = nn.Linear(width, bins)
        self.calls: list[int] = []  # sizes of the batches

    def prepare(self, contexts: Tensor, taus: Tensor) -> Callable[[Tensor, int], Tensor]:
        dtype = self.out.weight.dtype
        heard = self.ctx(contexts.to(dtype))
        steps = torch.cos(taus[:, None] / torch.arange(1, 33, device=taus.device)).to(dtype)

        def velocity(x: Tensor, j: int) -> Tensor:
            self.calls.append(len(x))
            hidden = self.gen(x.to(dtype)) + steps[j]
            both = torch.cat([heard, hidden], dim=1)
            mixed, _ = self.attention(hidden, both, both, need_weights=False)
            return self.out(torch.tanh(hidden + mixed))

        return velocity


class ByClip(Network):
    """The same, one clip at a time: its kernels do not know the batch."""

    def prepare(self, contexts: Tensor, taus: Tensor) -> Callable[[Tensor, int], Tensor]:
        each = [super(ByClip, self).prepare(context[None], taus) for context in contexts]
        return lambda x, j: torch.cat([one(clip[None], j) for one, clip in zip(each, x, strict=True)])


IDS = ("a", "b", "c", "d", "e")
FAST = SamplerOptions(steps=4, guidance=2.0)


FRAMES, HEARD = 12, 6


def contexts_of(ids: Sequence[str]) -> Tensor:
    return torch.stack([torch.full((HEARD, 80), 0.1 * (ord(each) - 97)) for each in ids])


def draw(network: nn.Module, ids: Sequence[str] = IDS, options: SamplerOptions = FAST) -> Tensor:
    null = torch.full((HEARD, 80), -3.0)
    return sample(network, contexts_of(ids), null, schedule_of(), ids, options, FRAMES)  # type: ignore[arg-type]


BATCHES = [("a",), ("e", "c"), ("e", "d", "c", "b", "a"), ("c", "x", "y", "z", "w", "v")]


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("ids", BATCHES)
def test_a_batch_never_changes_a_sample(solver: str, ids: Sequence[str]) -> None:
    """To the last bit with kernels that do not depend on the batch: nothing in the sampler does."""
    options = replace(FAST, solver=solver)  # type: ignore[arg-type]
    whole = dict(zip(IDS, draw(ByClip(), options=options), strict=True))
    for clip_id, mel in zip(ids, draw(ByClip(), ids, options), strict=True):
        assert clip_id not in whole or torch.equal(mel, whole[clip_id])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
@pytest.mark.parametrize("ids", BATCHES)
def test_batched_kernels_change_a_sample_by_rounding_at_most(
    ids: Sequence[str], dtype: torch.dtype, tolerance: float
) -> None:
    """The state is float32 either way, so float64 networks differ where a velocity is rounded the other way."""
    whole = dict(zip(IDS, draw(Network().to(dtype)), strict=True))
    for clip_id, mel in zip(ids, draw(Network().to(dtype), ids), strict=True):
        if clip_id in whole:
            torch.testing.assert_close(mel, whole[clip_id], rtol=0, atol=tolerance)


def test_seed_and_id_change_a_sample() -> None:
    same_context = contexts_of("aa")
    null = torch.zeros(HEARD, 80)
    one, other = sample(Network(), same_context, null, schedule_of(), ["a", "b"], FAST, FRAMES)
    assert not torch.allclose(one, other, atol=0.1)
    assert not torch.allclose(draw(Network()), draw(Network(), options=replace(FAST, seed=1)), atol=0.1)
    torch.manual_seed(3)
    assert torch.equal(draw(Network()), draw(Network()))


def test_state_is_float32_and_the_network_may_be_bfloat16() -> None:
    made = draw(Network().bfloat16())
    assert made.dtype == torch.float32
    assert not made.requires_grad
    torch.testing.assert_close(made, draw(Network()), rtol=0, atol=0.1)


def test_guidance_one_is_the_conditional_model() -> None:
    network = ByClip()
    made = draw(network, options=replace(FAST, guidance=1.0))
    assert len(network.calls) == 4 * 5
    blind = sample(
        ByClip(), contexts_of(IDS), torch.rand(HEARD, 80), schedule_of(), IDS, replace(FAST, guidance=1.0), FRAMES
    )
    assert torch.equal(made, blind)
    # and the limit of guided sampling
    torch.testing.assert_close(draw(ByClip(), options=replace(FAST, guidance=1 + 1e-6)), made, rtol=0, atol=1e-4)


def test_guidance_zero_is_the_unconditional_model() -> None:
    null = contexts_of("a")[0]
    ids, options = ("c", "d"), replace(FAST, guidance=0.0)
    made = sample(ByClip(), contexts_of(ids), null, schedule_of(), ids, options, FRAMES)
    alone = sample(ByClip(), null.expand(2, -1, -1), null, schedule_of(), ids, replace(FAST, guidance=1.0), FRAMES)
    torch.testing.assert_close(made, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("weight", [2.0, 4.0])
def test_guidance_by_hand(weight: float) -> None:
    """A model whose velocity is the mean of its context: guided, it is that of the context null + w (cond - null)."""
    schedule, noise = (
        schedule_of(),
        torch.randn(1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    conditional, null = torch.full((1, 2, 4), 0.3, dtype=torch.float64), torch.full((2, 4), -0.2, dtype=torch.float64)
    model = Formula(schedule, lambda x, alpha, sigma: 0 * x)
    guided = denoise(model, noise, conditional, null, schedule, replace(FAST, guidance=weight))
    shifted = null + weight * (conditional - null)
    expected = denoise(model, noise, shifted, null, schedule, replace(FAST, guidance=1.0))
    torch.testing.assert_close(guided, expected, rtol=1e-12, atol=1e-12)


def test_rescaled_guidance_has_the_spread_of_the_conditional_velocity() -> None:
    generator = torch.Generator().manual_seed(0)
    conditional, null = torch.randn(2, 3, 7, 5, generator=generator)
    row = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])  # x_next = -v
    x, both = torch.zeros(3, 7, 5), torch.cat([conditional, null])
    plain, half, full = (-_update(x, x, both, row, 4.0, rescale)[0] for rescale in (0.0, 0.5, 1.0))
    torch.testing.assert_close(full.flatten(1).std(1), conditional.flatten(1).std(1))
    torch.testing.assert_close(plain, null + 4 * (conditional - null))
    torch.testing.assert_close(half, (plain + full) / 2)


def test_rescaling_is_passed_on() -> None:
    """One step from pure noise ends at -v, whose spread over each clip is then that of the conditional model."""
    conditional, plain, rescaled = (
        draw(Network(), options=replace(FAST, steps=1, guidance=guidance, guidance_rescale=rescale))
        for guidance, rescale in ((1.0, 0.0), (4.0, 0.0), (4.0, 1.0))
    )
    torch.testing.assert_close(rescaled.flatten(1).std(1), conditional.flatten(1).std(1), rtol=1e-4, atol=0)
    assert (plain.flatten(1).std(1) / conditional.flatten(1).std(1) - 1).abs().min() > 0.01


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        (FAST, [4, 4, 4, 4]),
        (replace(FAST, guidance=1.0), [2, 2, 2, 2]),
        (replace(FAST, guidance_interval=(0.0, 0.5)), [2, 2, 4, 4]),
        (replace(FAST, guidance_interval=(0.5, 1.0)), [4, 4, 2, 2]),
        (replace(FAST, guidance_interval=(0.25, 0.75)), [2, 4, 4, 2]),
    ],
)
def test_evaluations_are_those_that_happen(options: SamplerOptions, sizes: list[int]) -> None:
    """Both branches in one batch; outside of the interval the conditional one alone."""
    network = Network()
    draw(network, ("a", "b"), options)
    assert network.calls == sizes
    assert evaluations(schedule_of(), options) == (4, sum(sizes) // 2 - 4)


def test_steps_outside_of_the_interval_are_conditional() -> None:
    """Split by hand: the last two of four steps guided, from where the first two, conditional ones, have led."""
    guided = draw(ByClip(), options=replace(FAST, guidance_interval=(0.0, 0.5)))
    assert not torch.equal(guided, draw(ByClip()))
    assert not torch.equal(guided, draw(ByClip(), options=replace(FAST, guidance=1.0)))
    nearly_none = draw(ByClip(), options=replace(FAST, guidance_interval=(0.0, 1e-4)))
    assert torch.equal(nearly_none, draw(ByClip(), options=replace(FAST, guidance=1.0)))


def long(frames: int, ids: Sequence[str] = IDS, segment_frames: int = FRAMES) -> Tensor:
    null = torch.full((HEARD, 80), -3.0)
    return continue_to(frames, ByClip(), contexts_of(ids), null, schedule_of(), ids, FAST, segment_frames)


@pytest.mark.parametrize("frames", [1, 11, 12, 13, 24, 30])
def test_any_length_is_the_beginning_of_a_longer_one(frames: int) -> None:
    assert torch.equal(long(frames), long(30)[:, :frames])
    assert long(frames).shape == (5, frames, 80)
    assert torch.equal(long(30, ("d",))[0], long(30)[3])


def test_the_first_segment_is_a_sample_and_the_next_hears_its_end() -> None:
    made = long(24)
    assert torch.equal(made[:, :12], draw(ByClip()))
    null = torch.full((HEARD, 80), -3.0)
    second = sample(ByClip(), made[:, 12 - HEARD : 12], null, schedule_of(), IDS, FAST, FRAMES, segment=1)
    assert torch.equal(made[:, 12:], second)
    first_again = sample(ByClip(), made[:, 12 - HEARD : 12], null, schedule_of(), IDS, FAST, FRAMES, segment=0)
    assert not torch.allclose(second, first_again, atol=0.1)


def test_segments_shorter_than_the_context_keep_the_rest_of_it() -> None:
    """Of 6 frames that are heard, 4 are new and 2 old."""
    made = long(8, segment_frames=4)
    heard = torch.cat([contexts_of(IDS)[:, -2:], made[:, :4]], dim=1)
    second = sample(ByClip(), heard, torch.full((HEARD, 80), -3.0), schedule_of(), IDS, FAST, 4, segment=1)
    assert torch.equal(made[:, 4:], second)


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
def test_no_step_reads_from_the_device(solver: str) -> None:
    """On the meta device there are no values: an .item() or a branch on a tensor would raise."""
    options = replace(FAST, solver=solver, guidance_rescale=0.5, guidance_interval=(0.2, 0.9))  # type: ignore[arg-type]
    contexts, null = torch.empty(2, HEARD, 80, device="meta"), torch.empty(HEARD, 80, device="meta")
    made = sample(Network().to("meta"), contexts, null, schedule_of(), ("a", "b"), options, FRAMES)
    assert made.device.type == "meta"
    assert made.shape == (2, FRAMES, 80)


@pytest.mark.parametrize("branches", [1, 2])
def test_a_step_is_one_graph(branches: int) -> None:
    """Guidance and solver without a break, nor a new graph for the next step."""
    torch.compiler.reset()
    graphs = 0

    def count(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        nonlocal graphs
        graphs += 1
        return graph.forward

    compiled = torch.compile(_update, fullgraph=True, backend=count)
    x, v = torch.randn(2, 5, 4), torch.randn(branches * 2, 5, 4)
    table = torch.from_numpy(coefficients(schedule_of(), trailing_indices(1000, 4), "dpmpp_2m")).float()
    for row in table:
        made = compiled(x, 0.5 * x, v, row, 2.0, 0.3)
        torch.testing.assert_close(made, _update(x, 0.5 * x, v, row, 2.0, 0.3))
    assert graphs == 1


def test_compile_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []

    def compiled(x: Tensor, clean: Tensor, v: Tensor, row: Tensor, *rest: float) -> tuple[Tensor, Tensor]:
        rows.append(row)
        return _update(x, clean, v, row, *rest)

    monkeypatch.setattr("model_zoo.sampling.sampler._compiled", lambda: compiled)
    assert torch.equal(draw(Network(), options=replace(FAST, compile=True)), draw(Network()))
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "dpmpp"}, "unknown solver 'dpmpp'; did you mean 'dpmpp_2m'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"guidance_rescale": 1.5}, "guidance_rescale must be 0 to 1, got 1.5"),
        ({"guidance_interval": (0.5, 0.5)}, "two rising shares"),
        ({"guidance_interval": (0.0, 1.5)}, "two rising shares"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SamplerOptions(**options)  # type: ignore[arg-type]


def test_requests_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="has 1000 steps, 1001 cannot be taken"):
        draw(Network(), options=replace(FAST, steps=1001))
    with pytest.raises(UsageError, match="got 1 ids and 2 contexts"):
        sample(Network(), contexts_of("ab"), contexts_of("a")[0], schedule_of(), ["a"], FAST, FRAMES)
    with pytest.raises(UsageError, match="at least 1 frame, got 0"):
        long(0)
    with pytest.raises(UsageError, match="differ in frames or bins"):
        sample(Network(), contexts_of("a"), torch.zeros(HEARD + 1, 80), schedule_of(), ["a"], FAST, FRAMES)
