"""Builds the workbench that a study describes, and finds the study's units."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dnd_assets.selection import select_units, target_networks
from dnd_assets.study import Study
from dnd_assets.units import UnitIndex
from dnd_assets.workbench import Workbench
from resources.artefacts import ArtefactStore
from resources.captioner import BlipCaptioner
from resources.clip import OpenClip
from resources.compute import Compute
from resources.lineage_db import Lineage
from resources.sentence_encoder import SentenceEncoder
from resources.summariser import (
    CaptionsAsConcepts,
    ChatSummariser,
    ConsensusSummariser,
    Summariser,
)
from resources.text_to_image import DiffusersTextToImage, TextToImage
from resources.world_painter import WorldPainter


def build_bench(study: Study, home: Path, log: Callable[[str], None] = lambda _: None) -> Workbench:
    """The resources of a study, nothing loaded yet.

    Args:
        study: the study.
        home: the state folder.
        log: where progress goes.
    """
    base = str(study.folder)
    compute = Compute(device=study.compute.device, dtype=study.compute.dtype)
    return Workbench(
        study=study,
        home=home,
        lineage=Lineage(root=str(home)),
        store=ArtefactStore(root=str(home / "store")),
        compute=compute,
        targets=target_networks(study, home),
        captioner=BlipCaptioner(**study.captioner.model_dump(), base=base, compute=compute),
        summariser=_summariser(study),
        text_to_image=_painter(study, base, compute),
        clip=OpenClip(**study.clip.model_dump(), base=base, compute=compute),
        sentences=_sentences(study, base, compute),
        log=log,
    )


def _summariser(study: Study) -> Summariser:
    settings = study.summariser.model_dump(exclude={"kind"})
    match study.summariser.kind:
        case "chat":
            return ChatSummariser(**settings)
        case "none":
            return CaptionsAsConcepts()
        case _:
            return ConsensusSummariser()


def _painter(study: Study, base: str, compute: Compute) -> TextToImage:
    if study.text_to_image.kind == "world":
        return WorldPainter()
    settings = study.text_to_image.model_dump(exclude={"kind"})
    return DiffusersTextToImage(**settings, base=base, compute=compute)


def _sentences(study: Study, base: str, compute: Compute) -> SentenceEncoder | None:
    named = study.evaluation.sentence_encoder if study.evaluation else None
    return SentenceEncoder(model=named, base=base, compute=compute) if named else None


def find_units(bench: Workbench) -> UnitIndex:
    """Every unit that the study selects, in its order; see `select_units`."""
    return select_units(bench.study, bench.targets)
