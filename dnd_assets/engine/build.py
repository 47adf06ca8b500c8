"""Builds the workbench that a study describes, and finds the study's units."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dnd_assets.engine.context import Workbench
from dnd_assets.study.selection import compute_of, select_units, target_networks
from dnd_assets.study.study import Study
from dnd_assets.units import UnitIndex
from resources.artefact_store import ArtefactStore
from resources.captioners.base import BlipCaptioner, Captioner
from resources.captioners.chat import ChatCaptioner
from resources.captioners.concepts import ConceptCaptioner
from resources.captioners.custom import OwnCaptioner
from resources.captioners.retrieval import RetrievalCaptioner, RetrievalTextToImage
from resources.captioners.vlm import Blip2Captioner, VlmCaptioner
from resources.collection import CaptionedCollection
from resources.encoders.base import ImageTextEncoder
from resources.encoders.conse import Conse
from resources.encoders.open_clip import OpenClip
from resources.encoders.sentence import SentenceEncoder
from resources.lineage_db.database import Lineage
from resources.lineage_db.reader import LineageReader
from resources.runtime.compute import Compute
from resources.summarisers.base import (
    CaptionsAsConcepts,
    ChatSummariser,
    ConsensusSummariser,
    Summariser,
)
from resources.text_to_image.base import DiffusersTextToImage, TextToImage
from resources.text_to_image.image_server import ServedTextToImage
from resources.text_to_image.known_answers import WorldPainter


def build_bench(
    study: Study,
    home: Path,
    log: Callable[[str], None] = lambda _: None,
    *,
    reading: bool = False,
) -> Workbench:
    """The resources of a study, nothing loaded yet.

    Args:
        study: the study.
        home: the state folder.
        log: where progress goes.
        reading: only read: nothing in the state folder is touched, and nothing can be recorded.
    """
    compute = compute_of(study)
    seen = study.probing_set.seen
    clip = _encoder(study, home, compute_of(study, "clip")).seeing(seen)
    return Workbench(
        study=study,
        home=home,
        lineage=(LineageReader if reading else Lineage)(root=str(home)),
        store=ArtefactStore(root=str(home / "store"), reading=reading),
        compute=compute,
        targets=target_networks(study, home, reading=reading),
        captioner=_captioner(study, home, compute_of(study, "captioner"), clip).seeing(seen),
        summariser=_summariser(study),
        text_to_image=_painter(study, home, compute_of(study, "text_to_image"), clip),
        clip=clip,
        sentences=_sentences(study, str(study.folder), compute),
        log=log,
    )


def _captioner(study: Study, home: Path, compute: Compute, clip: ImageTextEncoder) -> Captioner:
    settings, base = study.captioner.options, str(study.folder)
    match study.captioner.kind:
        case "retrieval":
            return RetrievalCaptioner(collection=_collection(study, home, clip))
        case "chat":
            return ChatCaptioner(**settings)
        case "own":
            return OwnCaptioner(**settings, base=base)
        case "concepts":
            return ConceptCaptioner(**settings, base=base, encoder=clip)
        case "vlm":
            return VlmCaptioner(**settings, base=base, compute=compute)
        case "blip2":
            return Blip2Captioner(**settings, base=base, compute=compute)
        case _:
            return BlipCaptioner(**settings, base=base, compute=compute)


def _collection(study: Study, home: Path, clip: ImageTextEncoder) -> CaptionedCollection:
    assert study.collection is not None  # the study was refused otherwise
    return CaptionedCollection(
        **study.collection.model_dump(),
        base=str(study.folder),
        cache=str(home / "collections"),
        encoder=clip,
    )


def _summariser(study: Study) -> Summariser:
    settings = study.summariser.all_but("kind")
    match study.summariser.kind:
        case "chat":
            return ChatSummariser(**settings)
        case "none":
            return CaptionsAsConcepts()
        case _:
            return ConsensusSummariser()


def _encoder(study: Study, home: Path, compute: Compute) -> ImageTextEncoder:
    settings, base = study.clip.options, str(study.folder)
    if study.clip.kind == "conse":
        return Conse(**settings, base=base, cards=str(home / "networks"), compute=compute)
    return OpenClip(**settings, base=base, compute=compute)


def _painter(study: Study, home: Path, compute: Compute, clip: ImageTextEncoder) -> TextToImage:
    if study.text_to_image.kind == "world":
        return WorldPainter()
    if study.text_to_image.kind == "images":
        return ServedTextToImage(**study.text_to_image.options)
    if study.text_to_image.kind == "retrieval":
        return RetrievalTextToImage(collection=_collection(study, home, clip))
    settings = study.text_to_image.options
    return DiffusersTextToImage(**settings, base=str(study.folder), compute=compute)


def _sentences(study: Study, base: str, compute: Compute) -> SentenceEncoder | None:
    named = study.evaluation.sentence_encoder if study.evaluation else None
    if not named:
        return None
    return SentenceEncoder(model=named, base=base, exact=True, compute=compute)


def find_units(bench: Workbench) -> UnitIndex:
    """Every unit that the study selects, in its order; see `select_units`."""
    return select_units(bench.study, bench.targets)
