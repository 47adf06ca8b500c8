"""What the graph starts from, as observable source assets: images, weights, prompts.

Observing one tells Dagster the version of what lies there now, without computing anything, so that
the interface marks what became out of date and automation can rerun it. Every stage also observes
the sources it used, in the run that used them.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg

from dnd_assets.assets.concept_masks import observe as look_at_masks
from dnd_assets.assets.held_out_images import HeldOutImages
from dnd_assets.assets.imported_labels import ImportedLabels
from dnd_assets.assets.probing_set import observe
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Stage, StudyAsset
from dnd_assets.files.atomic import sha256_file
from dnd_assets.lineage.fingerprint import digest
from dnd_assets.lineage.records import (
    CONCEPT_ACTIVATIONS,
    CONCEPT_MASKS,
    HELD_OUT_IMAGES,
    PROBING_SET,
    Product,
)
from dnd_assets.study.label_files import SUFFIX, label_path
from dnd_assets.study.study import Study
from dnd_assets.study.study_concepts import study_concepts

GROUP = "step_0_sources"
_EVERY = "*/10 * * * *"


@dataclass(frozen=True)
class ExternalSource:
    """Something outside the graph that results depend on.

    Attributes:
        name: the asset's key.
        description: what it is, for the interface.
        feeds: what depends on it: assets that use this resource, or the asset of this name.
        describe: its present state as JSON, whose hash is the data version.
        whole: whether this state is the payload of the study asset that it feeds.
    """

    name: str
    description: str
    feeds: str
    describe: Callable[[StudyContext], dict[str, object]]
    whole: bool = False

    def observation(
        self, context: StudyContext, product: Product | None = None
    ) -> dg.AssetObservation:
        """The present state as an event; with `product`, that in its payload if it is there."""
        state = dict(product.payload) if product and self.whole else self.describe(context)
        return dg.AssetObservation(
            self.name,
            tags={"dagster/data_version": digest(state)},
            metadata={"state": dg.MetadataValue.json(state)},
        )


def _images(context: StudyContext) -> dict[str, object]:
    return dict(observe(context).payload)


def _networks(context: StudyContext) -> dict[str, object]:
    return {
        model.name: {
            **context.targets.fingerprint(model.name),
            **context.targets.codings(model.name),
        }
        for model in context.study.models
    }


def _pipeline(context: StudyContext) -> dict[str, object]:
    fingerprint = context.text_to_image.fingerprint()
    return {name: value for name, value in fingerprint.items() if name != "prompt"}


def _prompt(context: StudyContext) -> dict[str, object]:
    return {"prompt": context.text_to_image.fingerprint().get("prompt", "{concept}")}


def _concepts(context: StudyContext) -> dict[str, object]:
    chosen = context.study.clip_dissect
    if chosen is None:
        return {}
    concepts = study_concepts(context.study, chosen)
    return {"concepts": len(concepts.concepts), "hash": concepts.hash, "prompt": chosen.prompt}


def _masks(context: StudyContext) -> dict[str, object]:
    return dict(look_at_masks(context).payload) if context.study.segmentation else {}


SOURCES = (
    ExternalSource(
        "probing_images",
        "The image files of the probing folders.",
        PROBING_SET,
        _images,
        whole=True,
    ),
    ExternalSource(
        "target_weights",
        "The networks to be described: architecture, weight files, preprocessing.",
        "targets",
        _networks,
    ),
    ExternalSource(
        "captioner_weights",
        "The captioning model and its settings.",
        "captioner",
        lambda context: dict(context.known_by(context.captioner)),
    ),
    ExternalSource(
        "summariser_prompts",
        "The summariser: kind, server, model, temperature and prompts.",
        "summariser",
        lambda context: dict(context.summariser.fingerprint()),
    ),
    ExternalSource(
        "text_to_image_weights",
        "The text-to-image pipeline, its scheduler and steps.",
        "text_to_image",
        _pipeline,
    ),
    ExternalSource("painting_prompt", "What is painted of a concept.", "text_to_image", _prompt),
    ExternalSource(
        "image_text_weights",
        "The image-text encoder that compares pictures.",
        "clip",
        lambda context: dict(context.known_by(context.clip)),
    ),
)
"""Every source of the seven products, in the order of the graph."""
CONCEPT_FILE = ExternalSource(
    "concept_file", "The file of concepts of CLIP-Dissect.", CONCEPT_ACTIVATIONS, _concepts
)
MASK_FILES = ExternalSource(
    "mask_files",
    "The images with pixel labels, and their masks.",
    CONCEPT_MASKS,
    _masks,
    whole=True,
)


def label_file(method: str) -> ExternalSource:
    """The file of an imported method of labels."""

    def describe(context: StudyContext) -> dict[str, object]:
        path = label_path(context.study, method)
        return {"file": path.name, "sha256": sha256_file(path) if path.is_file() else None}

    name = f"{method}_file"
    return ExternalSource(
        name, "A file of labels that were made elsewhere.", f"{method}{SUFFIX}", describe
    )


HELD_OUT = ExternalSource(
    "held_out_files",
    "The image files that labels are measured on, those of the probing folders left out.",
    HELD_OUT_IMAGES,
    lambda context: dict(HeldOutImages().observe(context).payload),
    whole=True,
)
SENTENCES = ExternalSource(
    "sentence_encoder_weights",
    "The sentence encoder that compares labels with truths.",
    "sentences",
    lambda context: dict(context.sentences.fingerprint()) if context.sentences else {},
)
_OPTIONAL = (CONCEPT_FILE, MASK_FILES, HELD_OUT, SENTENCES)


def sources_of(product: Stage | StudyAsset) -> list[ExternalSource]:
    """The sources that an asset depends on."""
    if isinstance(product, ImportedLabels):
        return [label_file(product.method)]
    fed = {product.name, *product.uses}
    return [source for source in (*SOURCES, *_OPTIONAL) if source.feeds in fed]


def sources_for(study: Study) -> list[ExternalSource]:
    """The sources of a study: those of the seven products, and of its optional sections."""
    files = [label_file(method) for method in study.imported_labels]
    evaluation = study.evaluation
    sentences = evaluation and evaluation.sentence_encoder
    sections = (study.clip_dissect, study.segmentation, evaluation, sentences)
    optional = (source for source, section in zip(_OPTIONAL, sections, strict=True) if section)
    return [*SOURCES, *optional, *files]


def source_assets(context: StudyContext) -> Iterator[dg.SourceAsset]:
    """The observable source assets of a study."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # Dagster is pinned to one minor version
        yield from [_asset(source, context) for source in sources_for(context.study)]


def _asset(source: ExternalSource, context: StudyContext) -> dg.SourceAsset:
    @dg.observable_source_asset(
        name=source.name,
        description=source.description,
        group_name=GROUP,
        automation_condition=dg.AutomationCondition.cron_tick_passed(_EVERY),
    )
    def observe() -> dg.ObserveResult:
        observation = source.observation(context)
        return dg.ObserveResult(
            data_version=dg.DataVersion(observation.tags["dagster/data_version"]),
            metadata=observation.metadata,
        )

    return observe
