"""Builds the study's context that a study describes, and finds the study's units."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.workers.pools import Workers
from dnd_assets.study.selection import compute_of, select_units, target_networks
from dnd_assets.study.study import Study
from dnd_assets.units import UnitIndex
from resources.artefact_store import store_of
from resources.encoders.sentence import SentenceEncoder
from resources.lineage_db.database import Lineage
from resources.lineage_db.reader import LineageReader
from resources.runtime.build_context import BuildContext
from resources.runtime.compute import Compute
from resources.runtime.gpu_cards import only_card


def build_context(
    study: Study,
    home: Path,
    log: Callable[[str], None] = lambda _: None,
    *,
    reading: bool = False,
) -> StudyContext:
    """The resources of a study, nothing loaded yet.

    Args:
        study: the study.
        home: the state folder.
        log: where progress goes.
        reading: only read: nothing in the state folder is touched, and nothing can be recorded.
    """
    only_card(study.compute.device)
    compute = compute_of(study)
    roles = BuildContext(
        base=str(study.folder),
        home=home,
        compute=partial(compute_of, study),
        clip=study.clip,
        captioned=study.collection.model_dump() if study.collection else None,
    )
    return StudyContext(
        study=study,
        home=home,
        lineage=(LineageReader if reading else Lineage)(root=str(home)),
        store=store_of(home, study.store, reading=reading),
        compute=compute,
        targets=target_networks(study, home, reading=reading),
        captioner=study.captioner.build(roles),
        summariser=study.summariser.build(roles),
        text_to_image=study.text_to_image.build(roles),
        clip=roles.encoder,
        sentences=_sentences(study, str(study.folder), compute),
        log=log,
        workers=Workers() if reading else workers_of(study),
    )


def workers_of(study: Study) -> Workers:
    """Who does a study's work, nobody of whom is started yet."""
    settings = study.compute
    return Workers(settings.handed_to, study.folder, settings.device.partition(":")[0])


def _sentences(study: Study, base: str, compute: Compute) -> SentenceEncoder | None:
    model_name = study.evaluation.sentence_encoder if study.evaluation else None
    if not model_name:
        return None
    return SentenceEncoder(model=model_name, base=base, exact=True, compute=compute)


def find_units(context: StudyContext) -> UnitIndex:
    """Every unit that the study selects, in its order; see `select_units`."""
    return select_units(context.study, context.targets)
