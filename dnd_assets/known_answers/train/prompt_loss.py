"""How well a classifier reads from a picture what its prompt names, as a loss of the painter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnd_assets.known_answers.train.phrases import PREFIX
from dnd_assets.known_answers.world import VALUES, parse


def by_attribute(values: Tensor) -> tuple[Tensor, ...]:
    """The columns of each attribute, of a tensor (B, 29) in the order of `VALUES`."""
    return torch.split(values, [len(choices) for choices in VALUES.values()], dim=1)


def misread(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean cross-entropy of the attributes, given logits and true values, (B, 29) both."""
    pairs = zip(by_attribute(logits), by_attribute(truth), strict=True)
    return torch.stack([nn.functional.cross_entropy(*pair) for pair in pairs]).mean()


def named_values(prompt: str) -> Tensor:
    """Which values a prompt allows of the attributes that it names, bool (29,).

    Attributes are in the order of `VALUES`; of one that the prompt does not name no value is
    marked. "stripes" allows horizontal and vertical ones.
    """
    text = prompt.replace(PREFIX, "").strip()
    facts = parse(text) if text else {}
    marks = [[value in facts.get(name, ()) for value in values] for name, values in VALUES.items()]
    return torch.tensor([mark for row in marks for mark in row])


def unread(logits: Tensor, named: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of -log P(one of the allowed values) over the attributes that are named.

    Args:
        logits: of a classifier with a group of logits for each attribute, (B, 29).
        named: as `named_values` gives it, bool (B, 29).
        weights: of each picture, (B,); the mean is over all named attributes anyhow.

    Returns:
        A scalar, 0 where nothing is named.
    """
    total, count = logits.new_zeros(()), 0
    pairs = zip(by_attribute(logits), by_attribute(named), strict=True)
    for values, allowed in pairs:
        rows = allowed.any(dim=1)
        chances = values[rows].log_softmax(dim=1).masked_fill(~allowed[rows], -1e9).logsumexp(dim=1)
        total = total - (chances if weights is None else chances * weights[rows]).sum()
        count += int(rows.sum())
    return total / max(count, 1)
