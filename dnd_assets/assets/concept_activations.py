"""Concept activations: the concept set of CLIP-Dissect before the image-text encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dnd_assets.engine.cache.shared_results import text_embeddings
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.recording import record_run, record_whole
from dnd_assets.engine.stage import Settings, StudyAsset
from dnd_assets.files.concept_sets import ConceptSet, prompts
from dnd_assets.lineage.fingerprint import canonical, digest, preimage
from dnd_assets.lineage.records import CONCEPT_ACTIVATIONS, Outcome, Product, artefact_row
from dnd_assets.lineage.rows import Row
from dnd_assets.study.method_settings import ClipDissect
from dnd_assets.study.study import needed
from dnd_assets.study.study_concepts import study_concepts


class ConceptActivations(StudyAsset):
    """The concept set of CLIP-Dissect: each concept's text before the image-text encoder.

    Materialize it after the file of concepts changed.
    """

    name = CONCEPT_ACTIVATIONS
    uses = ("clip", "compute")
    group = "baselines"
    kinds = frozenset({"pytorch"})

    def settings(self, context: StudyContext) -> Settings:
        """The file and its prompt, and the encoder that embeds the concepts."""
        return _settings(context)

    def observe(self, context: StudyContext) -> Product:
        """See the module's `observe`."""
        return observe(context)

    def materialize(self, context: StudyContext, run: str) -> Product:
        """See the module's `materialize`."""
        return materialize(context, run)[0]


def materialize(context: StudyContext, run: str) -> tuple[Product, ConceptSet]:
    """Embed the concepts that are not known, record the set and return it.

    CLIP-Dissect, section 3.1, step 1: the factor T of P = I T^t; the other one, the embeddings of
    the probing images, is shared with everything else that asks for it.

    Args:
        context: the study's context.
        run: id of the run that asks.

    Returns:
        The product, whose payload names the stored concepts and texts, and what the file holds.

    Raises:
        StudyError: when the study names no concept set, or its file is not sound.
        NotFoundError: when the file is not there.
    """
    product, concept_set = _product(context)
    with context.lineage.exclusive(context.log):
        record_run(context, run)
        embedded_before = context.tally["text embeddings"]
        text_embeddings(context, texts_of(context, product))
        embedded = context.tally["text embeddings"] - embedded_before
        names = {"run": run, "study": context.study.name, "asset": CONCEPT_ACTIVATIONS}
        work = [{**names, "what": "text embeddings", "count": embedded}] if embedded else []
        rows = {"artefacts": _artefacts(context, product), "work": work}
        record_whole(context, run, product, rows, context.compute.name())
    return product, concept_set


def observe(context: StudyContext) -> Product:
    """The concept set as it is now, for a plan: nothing is embedded or materialized.

    Raises:
        StudyError: as `materialize`.
        NotFoundError: as `materialize`.
    """
    product, _ = _product(context)
    context.lineage.commit({"artefacts": _artefacts(context, product)})
    return product


def concepts_of(context: StudyContext, product: Product) -> list[str]:
    """The concepts, in the order of their file."""
    return _stored_texts(context, product.payload["concepts"])


def texts_of(context: StudyContext, product: Product) -> list[str]:
    """The text that stands for each concept before the encoder."""
    return _stored_texts(context, product.payload["texts"])


def clip_dissect_of(context: StudyContext) -> ClipDissect:
    """The study's section `clip_dissect`.

    Raises:
        StudyError: when it has none.
    """
    example = "concepts = 'concepts.txt'"
    return needed(context.study.clip_dissect, "clip_dissect", context.study, example)


def _settings(context: StudyContext) -> Settings:
    setting = clip_dissect_of(context)
    packaged = setting.concepts.startswith("package:")
    path = setting.concepts if packaged else str(context.study.path(setting.concepts))
    encoder = context.lineage.provider(context.known_by(context.clip))
    return {"concepts": path, "prompt": setting.prompt}, {"clip": encoder}


def _stored_texts(context: StudyContext, file: str) -> list[str]:
    texts: list[str] = json.loads(context.store.get(file))
    return texts


def _product(context: StudyContext) -> tuple[Product, ConceptSet]:
    """The product and what it was read from; its lists of concepts and texts lie in the store."""
    parameters, weights = _settings(context)
    setting = clip_dissect_of(context)
    concept_set = study_concepts(context.study, setting)
    code = ConceptActivations().code()
    recipe = preimage(
        CONCEPT_ACTIVATIONS, code, parameters, weights, {"concepts": concept_set.hash}
    )
    payload = {
        "concepts": _store_texts(context, concept_set.concepts),
        "texts": _store_texts(context, prompts(concept_set.concepts, setting.prompt)),
        "count": len(concept_set.concepts),
        "encoder": weights["clip"],
    }
    notes = {
        "files": [payload["concepts"], payload["texts"]],
        "duplicates": concept_set.duplicates,
        "blanks": concept_set.blanks,
    }
    outcome = Outcome("ok", payload, notes=notes)
    return Product(digest(recipe), CONCEPT_ACTIVATIONS, recipe, outcome), concept_set


def _store_texts(context: StudyContext, texts: Sequence[str]) -> str:
    return context.store.put(canonical(list(texts)).encode(), "json")


def _artefacts(context: StudyContext, product: Product) -> list[Row]:
    sizes = {file: context.store.size(file) for file in product.outcome.notes["files"]}
    return [
        artefact_row(file.partition(".")[0], file, "concepts", size) for file, size in sizes.items()
    ]
