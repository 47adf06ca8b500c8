"""Captions of pictures and their probabilities: each made once and shared by all units."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from dnd_assets.engine.cache.shared_results import cached, get_or_compute
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.workers.at_work import agree
from dnd_assets.engine.workers.parts import Part, PartResult
from dnd_assets.lineage.fingerprint import canonical
from resources.captioners.language_model import LanguageModel
from resources.captioners.likelihood import CaptionLikelihood
from resources.runtime.progress import Progress

_PAIRS = 1024
"""Pairs of picture and caption, or captions, that are committed together."""
Pair = tuple[str, str]
"""Hash of a picture, and a caption."""


def beams(context: StudyContext, images: Iterable[str], count: int) -> dict[str, list[str]]:
    """Captions of each picture by beam search, best first, by its hash."""
    batch = context.study.compute.batch.captioner
    hashes, provider = context.pictures.in_order(images), _beam_provider(context, count)
    about = {"beams": count}
    return get_or_compute(
        context, "caption beam", provider, hashes, batch, beams_of, lambda _: about, list
    )


def beams_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """Captions of each picture of a part by beam search, by its hash."""
    count = part.about["beams"]
    agree(context, part, lambda: _beam_provider(context, count))
    captioner, batch = CaptionLikelihood(context.captioner), context.study.compute.batch.captioner
    captions = captioner.beams(context.pictures.load(part.items), count, batch)
    return PartResult(dict(zip(part.items, captions, strict=True)))


def known_beams(context: StudyContext, images: Iterable[str], count: int) -> dict[str, list[str]]:
    """The captions of those pictures that have been captioned by beam search already."""
    hashes = sorted(set(images))
    return cached(context, "caption beam", _beam_provider(context, count), hashes)


def log_given(context: StudyContext, pairs: Iterable[Pair]) -> dict[Pair, float]:
    """Natural log p(caption|picture) of each pair; NaN where the captioner broke."""
    provider = context.lineage.provider(context.known_by(CaptionLikelihood(context.captioner)))
    pairs_by_item = {canonical(list(pair)): pair for pair in pairs}

    def pictures_of(part: Sequence[str]) -> list[str]:
        return sorted({pairs_by_item[item][0] for item in part})

    values = get_or_compute(
        context, "caption likelihood", provider, sorted(pairs_by_item), _PAIRS, log_given_of,
        pictures_of=pictures_of,
    )  # fmt: skip
    return {pairs_by_item[item]: _read(value) for item, value in values.items()}


def log_given_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """Natural log p(caption|picture) of each pair of a part; None where the captioner broke."""
    captioner = CaptionLikelihood(context.captioner)
    agree(context, part, lambda: context.lineage.provider(context.known_by(captioner)))
    batch = context.study.compute.batch.captioner
    texts: dict[str, list[str]] = {}
    for image, text in map(json.loads, part.items):
        texts.setdefault(image, []).append(text)
    values = captioner.log_given(context.pictures.load(list(texts)), list(texts.values()), batch)
    return PartResult(
        {
            canonical([image, text]): _stored(value)
            for (image, image_texts), image_values in zip(texts.items(), values, strict=True)
            for text, value in zip(image_texts, image_values, strict=True)
        }
    )


def likelihoods_to_make(context: StudyContext, pairs: Iterable[Pair]) -> int:
    """How many pairs have no probability yet."""
    provider = context.lineage.provider(context.known_by(CaptionLikelihood(context.captioner)))
    items = sorted({canonical(list(pair)) for pair in pairs})
    return len(items) - len(cached(context, "caption likelihood", provider, items))


def log_prior(context: StudyContext, texts: Iterable[str], model: str | None) -> dict[str, float]:
    """Natural log p(caption) of each caption, by a language model or the captioner itself."""
    provider = context.lineage.provider(prior_model(context, model).fingerprint())
    distinct_texts, about = sorted(set(texts)), {"model": model}
    values = get_or_compute(
        context, "caption prior", provider, distinct_texts, _PAIRS, log_prior_of, lambda _: about
    )
    return {text: _read(value) for text, value in values.items()}


def log_prior_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """Natural log p(caption) of each caption of a part; None where the model broke."""
    prior = prior_model(context, part.about["model"])
    agree(context, part, lambda: context.lineage.provider(prior.fingerprint()))
    values = prior.log_prior(part.items, context.study.compute.batch.captioner)
    return PartResult(
        {text: _stored(value) for text, value in zip(part.items, values, strict=True)}
    )


def priors_to_make(context: StudyContext, texts: Iterable[str], model: str | None) -> int:
    """How many captions have no probability of their own yet."""
    provider = context.lineage.provider(prior_model(context, model).fingerprint())
    distinct_texts = sorted(set(texts))
    return len(distinct_texts) - len(cached(context, "caption prior", provider, distinct_texts))


def prior_model(context: StudyContext, model: str | None) -> LanguageModel | CaptionLikelihood:
    """What tells how likely a caption is by itself."""
    if model is None:
        return CaptionLikelihood(context.captioner)
    return LanguageModel(model=model, base=str(context.study.folder), compute=context.compute)


def _beam_provider(context: StudyContext, count: int) -> str:
    captioner = CaptionLikelihood(context.captioner)
    return context.lineage.provider({**context.known_by(captioner), "beams": count})


def _stored(value: float) -> float | None:
    """A value as JSON can hold it: None for NaN and infinity."""
    return value if math.isfinite(value) else None


def _read(value: float | None) -> float:
    """A value that `_stored` gave; NaN for None."""
    return math.nan if value is None else value
