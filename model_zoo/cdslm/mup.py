"""CompleteP: learning rate, weight decay and Adam's epsilon of every parameter, so that those of one size fit all.

    groups = parameter_groups(model, learning_rate=1e-3, weight_decay=0.03, epsilon=1e-12)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)

What is given was tuned once, at the base size (``ModelConfig.base_layers``, ``base_width``); a model m_N times as wide
and m_L times as deep gets it multiplied by powers of m_N and m_L (arXiv 2505.01618, Table 1, alpha = 1; what that does
not list: ``docs/zoo/completep.md``). The other two parts of the parametrisation are elsewhere: initial weights in
``init``, multipliers of the forward pass in ``layers`` and ``model``. A model that is its own base (``base_layers`` =
``layers``, ``base_width`` = ``d``) has no multipliers at all: the standard parametrisation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from model_zoo.cdslm.config import ModelConfig
from slm_eval.base.errors import SlmEvalError

_BLOCK = r"blocks\.\d+\.(context|generation)\."


@dataclass(frozen=True)
class Group:
    """A row of the table: which parameters, and to which power multipliers go into what AdamW is told of them.

    torch's AdamW shrinks weights by lr * weight_decay a step, so where the rate goes by 1 / m_N the decay goes by m_N.
    """

    name: str
    parameters: str  # regular expression of the whole name
    rate: int  # learning rate: power of m_N
    decay: int | None  # weight decay: power of m_N; None: not decayed
    epsilon: tuple[int, int]  # Adam's epsilon: powers of m_N and m_L, those of the gradient

    def options(
        self, config: ModelConfig, learning_rate: float, weight_decay: float, epsilon: float
    ) -> tuple[float, float, float]:
        """Return learning rate, weight decay and epsilon for a model of this size."""
        wide, deep = config.width_multiplier, config.depth_multiplier
        return (
            learning_rate * wide**self.rate,
            0.0 if self.decay is None else weight_decay * wide**self.decay,
            epsilon * wide ** self.epsilon[0] * deep ** self.epsilon[1],
        )


GROUPS = (
    Group("input", r"(ctx_in|gen_in|t_mlp\.0)\.weight", 0, 0, (-1, 0)),
    Group("hidden", _BLOCK + r"(qkv|out|fc1|fc2)\.weight", -1, 1, (-1, -1)),
    Group("adaln", _BLOCK + r"adaln\.weight", -1, 1, (-1, -1)),
    Group("hidden outside blocks", r"(t_mlp\.2|final_adaln)\.weight", -1, 1, (-1, 0)),
    Group("biases in blocks", _BLOCK + r"(qkv|out|fc1|fc2|adaln)\.bias", 0, None, (-1, -1)),
    Group("gains", _BLOCK + r"[qk]_norm\.weight", 0, None, (0, -1)),
    Group("biases outside blocks", r"(ctx_in|gen_in|t_mlp\.[02]|final_adaln|final)\.bias", 0, None, (-1, 0)),
    Group("output", r"final\.weight", 0, 0, (-1, 0)),
)


def group_of(name: str) -> Group:
    """Return the row of the table for a parameter of ``MMDiT``.

    Raises:
        SlmEvalError: none is for it, or the name is that of a wrapped model.
    """
    for group in GROUPS:
        if re.fullmatch(group.parameters, name):
            return group
    if "_orig_mod." in name:
        raise SlmEvalError(
            f"parameter {name!r} is named by torch.compile's wrapper; "
            "compile in place (MMDiT.compile_blocks), which keeps names as they are"
        )
    raise SlmEvalError(
        f"parameter {name!r} is in no group of CompleteP's table, so it has no learning rate; "
        "add it to GROUPS in model_zoo/cdslm/mup.py"
    )


def parameter_groups(
    model: nn.Module, learning_rate: float, weight_decay: float, epsilon: float
) -> list[dict[str, Any]]:
    """Return what ``torch.optim.AdamW`` is given: at most 6 groups, in an order that is the same for every run of one
    size.

    Rows of the table that come to the same numbers are one group, for the fewest calls of the fused kernel. Frozen
    parameters are in none, but they too have to be known.

    Args:
        model: ``MMDiT``, under FSDP2 or with compiled blocks too; its ``config`` has the multipliers.
        learning_rate, weight_decay, epsilon: at the base size.

    Returns:
        ``{"params", "lr", "weight_decay", "eps", "name", "names"}`` each: the group's name, its parameters' names.

    Raises:
        SlmEvalError: a parameter that the table does not know.
    """
    config = model.config
    assert isinstance(config, ModelConfig)
    merged: dict[tuple[float, float, float], list[tuple[str, str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        row = group_of(name)
        if parameter.requires_grad:
            options = row.options(config, learning_rate, weight_decay, epsilon)
            merged.setdefault(options, []).append((row.name, name, parameter))
    return [
        {
            "params": [parameter for _, _, parameter in members],
            "lr": rate,
            "weight_decay": decay,
            "eps": eps,
            "name": ", ".join(dict.fromkeys(row for row, _, _ in members)),
            "names": [name for _, name, _ in members],
        }
        for (rate, decay, eps), members in merged.items()
    ]
