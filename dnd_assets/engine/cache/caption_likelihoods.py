"""Captions of pictures and their probabilities: each made once and shared by all units."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dnd_assets.engine.cache.shared_results import at_hand, once
from dnd_assets.engine.context import Workbench
from dnd_assets.lineage.fingerprint import canonical
from resources.captioners.language_model import LanguageModel
from resources.captioners.likelihood import CaptionLikelihood

_PAIRS = 1024
"""Pairs of picture and caption, or captions, that are committed together."""
Pair = tuple[str, str]
"""Hash of a picture, and a caption."""


def beams(bench: Workbench, images: Iterable[str], count: int) -> dict[str, list[str]]:
    """Captions of each picture by beam search, best first, by its hash."""
    batch = bench.study.compute.batch.captioner
    captioner = CaptionLikelihood(bench.captioner)

    def work(part: Sequence[str]) -> dict[str, Any]:
        found = captioner.beams(bench.pictures.load(part), count, batch)
        return dict(zip(part, found, strict=True))

    wanted = bench.pictures.in_order(images)
    return once(bench, "caption beam", _beam_provider(bench, count), wanted, batch, work)


def beams_to_make(bench: Workbench, images: Iterable[str], count: int) -> int:
    """How many pictures have not been captioned by beam search yet."""
    wanted = sorted(set(images))
    return len(wanted) - len(known_beams(bench, wanted, count))


def known_beams(bench: Workbench, images: Iterable[str], count: int) -> dict[str, list[str]]:
    """The captions of those pictures that have been captioned by beam search already."""
    wanted = sorted(set(images))
    return at_hand(bench, "caption beam", _beam_provider(bench, count), wanted)


def log_given(bench: Workbench, pairs: Iterable[Pair]) -> dict[Pair, float]:
    """Natural log p(caption|picture) of each pair; NaN where the captioner broke."""
    captioner = CaptionLikelihood(bench.captioner)
    batch = bench.study.compute.batch.captioner

    def work(part: Sequence[str]) -> dict[str, float | None]:
        texts: dict[str, list[str]] = {}
        for image, text in map(json.loads, part):
            texts.setdefault(image, []).append(text)
        values = captioner.log_given(bench.pictures.load(list(texts)), list(texts.values()), batch)
        return {
            canonical([image, text]): _stored(value)
            for (image, some), found in zip(texts.items(), values, strict=True)
            for text, value in zip(some, found, strict=True)
        }

    provider = bench.lineage.provider(bench.known_by(captioner))
    wanted = {canonical(list(pair)): pair for pair in pairs}
    found = once(bench, "caption likelihood", provider, sorted(wanted), _PAIRS, work)
    return {wanted[item]: _read(value) for item, value in found.items()}


def likelihoods_to_make(bench: Workbench, pairs: Iterable[Pair]) -> int:
    """How many pairs have no probability yet."""
    provider = bench.lineage.provider(bench.known_by(CaptionLikelihood(bench.captioner)))
    wanted = sorted({canonical(list(pair)) for pair in pairs})
    return len(wanted) - len(at_hand(bench, "caption likelihood", provider, wanted))


def log_prior(bench: Workbench, texts: Iterable[str], model: str | None) -> dict[str, float]:
    """Natural log p(caption) of each caption, by a language model or the captioner itself."""
    judge = prior_model(bench, model)
    batch = bench.study.compute.batch.captioner

    def work(part: Sequence[str]) -> Mapping[str, float | None]:
        values = judge.log_prior(part, batch)
        return {text: _stored(value) for text, value in zip(part, values, strict=True)}

    provider = bench.lineage.provider(judge.fingerprint())
    found = once(bench, "caption prior", provider, sorted(set(texts)), _PAIRS, work)
    return {text: _read(value) for text, value in found.items()}


def priors_to_make(bench: Workbench, texts: Iterable[str], model: str | None) -> int:
    """How many captions have no probability of their own yet."""
    provider = bench.lineage.provider(prior_model(bench, model).fingerprint())
    wanted = sorted(set(texts))
    return len(wanted) - len(at_hand(bench, "caption prior", provider, wanted))


def prior_model(bench: Workbench, model: str | None) -> LanguageModel | CaptionLikelihood:
    """What tells how likely a caption is by itself."""
    if model is None:
        return CaptionLikelihood(bench.captioner)
    return LanguageModel(model=model, base=str(bench.study.folder), compute=bench.compute)


def _beam_provider(bench: Workbench, count: int) -> str:
    captioner = CaptionLikelihood(bench.captioner)
    return bench.lineage.provider({**bench.known_by(captioner), "beams": count})


def _stored(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _read(value: float | None) -> float:
    return math.nan if value is None else value
