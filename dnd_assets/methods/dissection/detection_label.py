"""A unit's label by detection, from captions and activations to the label and its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final, Protocol

import numpy as np

from dnd_assets.methods.clip_dissect.activation_ranges import sample_reach
from dnd_assets.methods.dissection.candidate_concepts import (
    Key,
    commonest,
    consensus_concepts,
    content_words,
    phrase_forms,
    phrases_of,
)
from dnd_assets.methods.dissection.candidate_trial import (
    MISSES,
    Candidate,
    CaptionWords,
    Detected,
    Words,
)
from dnd_assets.methods.dissection.concept_detection import (
    Singles,
    candidates_of,
    compared,
    first_parts,
    narrower,
    ranked,
    singles_on,
)
from dnd_assets.methods.dissection.contrast import contrasting
from dnd_assets.methods.dissection.label_confidence import Evidence, evidence, probability
from dnd_assets.methods.dissection.matthews import Bools, Floats, active_from, best_mccs
from dnd_assets.methods.dissection.second_meaning import chosen
from dnd_assets.methods.text.caption_readings import Readings
from dnd_assets.methods.text.words import is_spaceless


class LikenessOf(Protocol):
    """How like some images are to some texts."""

    def __call__(self, texts: Sequence[str], *, images: Sequence[str]) -> Floats:
        """Cosines, (texts, images)."""


COMMON: Final = 0.05
"""A phrase that this share of captions has is common: its absence may be a concept."""
COMMON_TRIED: Final = 8
"""So many of the common phrases become candidates."""
_NEGATED: Final = 2
"""Words of a phrase whose absence is tried, at most."""


@dataclass(frozen=True)
class ReferenceImages:
    """Random images with their captions, the same for all units.

    Attributes:
        images: hashes, in an order that has nothing to do with any unit.
        captions: of each image.
        words: content words of each caption, in singular.
        forms: how a phrase is written most often, by its words.
        counts: how many captions have each phrase.
        common: phrases of one or two words that many captions have.
    """

    images: Sequence[str]
    captions: Sequence[str]
    words: Sequence[Words]
    forms: Mapping[Words, str]
    counts: Mapping[Key, int]
    common: Sequence[Candidate] = ()

    @cached_property
    def common_shown(self) -> Bools:
        """Whether each image shows each common phrase, (phrases, images)."""
        return self.caption_words.shown(first_parts(self.common))

    @cached_property
    def caption_words(self) -> CaptionWords:
        """Which captions have which word."""
        return CaptionWords.of(self.words)

    @cached_property
    def columns(self) -> dict[str, int]:
        """Place of each image."""
        return {name: column for column, name in enumerate(self.images)}


@dataclass(frozen=True)
class DetectionSettings:
    """What labelling by detection can be told.

    Attributes:
        candidates: concepts that captions of clearly activating images share, at most.
        contrast: phrases that set these captions apart from others, at most.
        wide: images with captions that are drawn from all that activate the unit clearly.
        margin: a shorter concept is taken if it is less than this below the best.
        seed: of the draw and of the bootstrap.
    """

    candidates: int = 5
    contrast: int = 10
    wide: int = 20
    margin: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class DetectionLabel:
    """What a unit is called, how sure that is, and what else was considered.

    Attributes:
        best: the label.
        order: all candidates, the one that detects best first.
        without: the label with a word less, or with one side of its "or".
        evidence: what speaks for the label.
        confidence: probability that it is right, 0 to 1.
        images: how many images it rests on.
    """

    best: Detected
    order: Sequence[Detected]
    without: Sequence[Candidate]
    evidence: Evidence
    confidence: float
    images: int


def reference_of(images: Sequence[str], captions: Sequence[str]) -> ReferenceImages:
    """Random images, in an order drawn from their hashes, with the words of their captions."""
    forms: dict[Words, str] = {}
    common: dict[Words, str] = {}
    counts: dict[Key, int] = {}
    for key, written in sorted(phrase_forms(captions).items()):
        counts[key] = written.total()
        forms.setdefault(frozenset(key), commonest(written))
        if counts[key] >= COMMON * len(captions) and len(key) <= _NEGATED:
            common.setdefault(frozenset(key), forms[frozenset(key)])
    words = [caption_words(text) for text in captions]
    candidates = [
        Candidate(text, (key,)) for key, text in sorted(common.items(), key=lambda i: i[1])
    ]
    return ReferenceImages(
        images, captions, words, Readings(forms, captions, words), counts, candidates
    )


def caption_words(text: str) -> Words:
    """The content words of a caption, in singular; of scripts without spaces, all runs."""
    pieces = [run for run in phrases_of(text).values() if is_spaceless(run)]
    return frozenset(singular for singular, _ in content_words(text)).union(pieces)


def label_by_detection(
    unit: str,
    summary: Sequence[str],
    exemplars: Mapping[str, str],
    reference: ReferenceImages,
    activations: Mapping[str, float],
    setting: DetectionSettings,
    likeness: LikenessOf | None = None,
) -> DetectionLabel | None:
    """The concept whose presence in captions predicts best where a unit is active.

    Candidates are the concepts of the summary, those that captions of images from a wide range of
    activations share, phrases that set the captions of both apart from random ones, and all of
    these without some of their words; then pairs of the best, joined by "or". They are compared
    on the random images and on the exemplars, without which a unit that seldom fires would have
    no positive.

    Args:
        unit: the unit's key, which seeds the draw of images.
        summary: candidate concepts of a summariser.
        exemplars: captions of the unit's exemplars, crops among them, by hash.
        reference: random images with captions.
        activations: of the unit on every image of the reference and on exemplars that are whole
            images, by hash; images of activations that are not finite are left out.
        setting: numbers and seed.
        likeness: of texts and images, by hash, for an image-text encoder: then presence is judged
            by captions and by the encoder; None asks captions alone.

    Returns:
        None where no candidate predicts anything, or no activation is finite.
    """
    case = detection_case(unit, summary, exemplars, reference, activations, setting)
    return None if case is None else label_of(case, setting, likeness)


@dataclass(frozen=True)
class DetectionCase:
    """A unit whose label is to be chosen: candidates, and the images that they are tried on.

    Attributes:
        reference: random images with captions.
        images: hashes of the images, (N,).
        singles: single phrases, on these images.
    """

    reference: ReferenceImages
    images: Sequence[str]
    singles: Singles

    def texts(self) -> list[str]:
        """The texts that an image-text encoder would be asked of."""
        return self.singles.texts()


def detection_case(
    unit: str,
    summary: Sequence[str],
    exemplars: Mapping[str, str],
    reference: ReferenceImages,
    activations: Mapping[str, float],
    setting: DetectionSettings,
) -> DetectionCase | None:
    """The candidates of a unit; arguments are those of `label_by_detection`.

    Returns:
        None where no activation on a reference image is finite.
    """
    finite = {name: value for name, value in activations.items() if np.isfinite(value)}
    columns = [column for column, name in enumerate(reference.images) if name in finite]
    if not columns:
        return None
    names = [reference.images[column] for column in columns]
    values = np.array([finite[name] for name in names])
    proposed = _proposed(unit, list(exemplars.values()), reference, names, values, setting)
    common = _common(reference, values, columns)
    candidates = candidates_of([*summary, *proposed, *common], reference.forms)
    captioned = {name: caption_words(text) for name, text in exemplars.items() if name in finite}
    return _case(reference, columns, captioned, finite, candidates)


def _case(
    reference: ReferenceImages,
    columns: Sequence[int],
    exemplars: Mapping[str, Words],
    finite: Mapping[str, float],
    candidates: Sequence[Candidate],
) -> DetectionCase:
    """Candidates on reference images of given columns and on exemplars, of which some are both.

    Of an image that is both, the exemplar's caption counts.
    """
    place_of = {reference.images[column]: place for place, column in enumerate(columns)}
    for name in exemplars:
        place_of.setdefault(name, len(place_of))
    activations = np.array([finite[name] for name in place_of])
    exemplar_words = CaptionWords.of(list(exemplars.values()))
    exemplar_places = [place_of[name] for name in exemplars]

    def shown(phrases: Sequence[Words]) -> Bools:
        blocks = np.zeros((len(phrases), len(place_of)), dtype=bool)
        blocks[:, : len(columns)] = reference.caption_words.shown(phrases)[:, columns]
        blocks[:, exemplar_places] = exemplar_words.shown(phrases)
        return blocks

    singles = singles_on(candidates, shown, activations, reference.common)
    return DetectionCase(reference, list(place_of), singles)


def label_of(
    case: DetectionCase, setting: DetectionSettings, likeness: LikenessOf | None = None
) -> DetectionLabel | None:
    """The label of a unit; see `label_by_detection`."""
    reference = case.reference
    image_likeness = None if likeness is None else partial(likeness, images=case.images)
    comparison = compared(case.singles, reference.forms, image_likeness)
    best = chosen(comparison, margin=setting.margin)
    if best is None:
        return None
    label_evidence = evidence(comparison, best, setting.margin, setting.seed)
    narrowed = narrower(best.candidate, reference.forms)
    order = ranked(comparison.whole)
    return DetectionLabel(
        best, order, narrowed, label_evidence, probability(label_evidence), len(case.images)
    )


def _common(reference: ReferenceImages, values: Floats, columns: Sequence[int]) -> list[str]:
    """The common phrases that detect best by themselves: sides of an "or" are among them."""
    shown = reference.common_shown[:, columns]
    mcc, _ = best_mccs(shown, values, misses=MISSES, lowest=active_from(values))
    rows = np.argsort(-mcc, kind="stable")[:COMMON_TRIED]
    return [reference.common[row].text for row in rows if mcc[row] > 0]


def _proposed(
    unit: str,
    strong: Sequence[str],
    reference: ReferenceImages,
    names: Sequence[str],
    values: Floats,
    setting: DetectionSettings,
) -> Iterator[str]:
    """Phrases that captions of clearly activating images share, or that set them apart."""
    rows = sample_reach(values, names, unit, n=setting.wide, seed=setting.seed)
    wide = [reference.captions[reference.columns[names[row]]] for row in rows]
    yield from consensus_concepts(wide, setting.candidates)
    yield from contrasting(
        [*strong, *wide], reference.counts, len(reference.captions), setting.contrast
    )
