"""The study's context: the study and the resources that a stage works with."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from PIL import Image

from dnd_assets.engine.cache.stored_pictures import Pictures
from dnd_assets.engine.cache.vectors import Vectors
from dnd_assets.engine.workers.pools import Workers
from dnd_assets.files.rasters.cutting import resized
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.lineage.fingerprint import Json
from dnd_assets.study.network_settings import LayerSettings
from dnd_assets.study.study import Study
from dnd_assets.units import Unit
from resources.artefact_store import ArtefactStore
from resources.captioners.base import Captioner
from resources.captioners.likelihood import CaptionLikelihood
from resources.encoders.base import ImageTextEncoder
from resources.encoders.sentence import SentenceEncoder
from resources.lineage_db.database import Lineage
from resources.model import Model
from resources.runtime.compute import Compute
from resources.runtime.progress import Progress
from resources.runtime.threads import in_threads
from resources.summarisers.base import Summariser
from resources.targets.networks import TargetNetworks
from resources.text_to_image.base import TextToImage


@dataclass(frozen=True)
class StudyContext:
    """Everything a stage may use.

    Attributes:
        study: what to label and how.
        home: the state folder.
        lineage: records and shared results.
        store: artefacts.
        compute: device and batching.
        targets: the networks to be described.
        captioner: image to text.
        summariser: captions to candidate concepts.
        text_to_image: concepts to pictures.
        clip: the image-text encoder.
        sentences: the sentence encoder of the evaluation, where the study names one.
        log: where progress goes.
        tally: work done so far by this process, by kind, as `dnd plan` counts it.
        promised: pictures that a plan has counted already, by provider; None in a run.
        workers: who does the work of stages: this process, or those that the study names.
    """

    study: Study
    home: Path
    lineage: Lineage
    store: ArtefactStore
    compute: Compute
    targets: TargetNetworks
    captioner: Captioner
    summariser: Summariser
    text_to_image: TextToImage
    clip: ImageTextEncoder
    sentences: SentenceEncoder | None = None
    log: Callable[[str], None] = field(default=lambda _: None)
    tally: Counter[str] = field(default_factory=Counter)
    promised: dict[str, set[str]] | None = None
    workers: Workers = field(default_factory=Workers)

    @cached_property
    def pictures(self) -> Pictures:
        """Pictures by content."""
        probing_set = self.study.probing_set
        return Pictures(self.lineage, self.store, probing_set.max_pixels, probing_set.reading)

    def seen_by(self, model: str, names: Sequence[str]) -> Sequence[Image.Image | Raster]:
        """Pictures as a network sees them, each read when it is asked for.

        RGB as people see them; of a network that takes bands, their bands.

        Args:
            model: the network's name in the study.
            names: hashes of pictures.
        """
        if self.targets.takes_bands(model):
            return self.pictures.lazy_rasters(names)
        return self.pictures.lazy(names)

    def squares_of(
        self, model: str, names: Sequence[str], side: int
    ) -> tuple[list[Image.Image], list[Image.Image | Raster]]:
        """Pictures resized to squares (bicubic): as people see them, and as a network does."""
        size = (side, side)
        rgb_squares = in_threads(
            lambda picture: picture.resize(size, Image.Resampling.BICUBIC),
            self.pictures.load(names),
        )
        if not self.targets.takes_bands(model):
            return rgb_squares, list(rgb_squares)
        return rgb_squares, [resized(self.pictures.raster(name), size) for name in names]

    @property
    def shown(self) -> dict[str, object]:
        """How the study has files rendered as pictures, as a part of keys; empty by default."""
        rendering = self.study.probing_set.seen
        return {"pictures": rendering} if rendering else {}

    def known_by(self, model: Model | CaptionLikelihood) -> dict[str, Json]:
        """Fingerprint of a model that sees pictures, with how the study has pictures rendered."""
        return {**model.fingerprint(), **self.shown}

    @cached_property
    def vectors(self) -> Vectors:
        """Vectors (activations, embeddings) by picture content."""
        return Vectors(self.lineage, self.store)

    def layer(self, unit: Unit) -> LayerSettings:
        """The study's entry for a unit's layer."""
        model = self.study.model(unit.model)
        return next(layer for layer in model.layers if layer.path == unit.layer)

    def count(self, kind: str, number: int) -> None:
        """Count work that was really done: passes, captions, calls, pictures."""
        self.tally[kind] += number

    def promise(self, provider: str, pictures: Iterable[str]) -> set[str]:
        """Those of `pictures` that no earlier stage of the plan at hand has promised."""
        if self.promised is None:
            return set(pictures)
        promised = self.promised.setdefault(provider, set())
        new_pictures = set(pictures) - promised
        promised |= new_pictures
        return new_pictures

    def progress(self, label: str, total: int) -> Progress:
        """Progress with rate and time left, written to the log."""
        return Progress(label, total, self.log)


def __getattr__(name: str) -> type[StudyContext]:
    """`Workbench`, as `StudyContext` was called; the name goes with the next version."""
    if name == "Workbench":
        warnings.warn(
            "Workbench is StudyContext now; the old name goes with the next version",
            DeprecationWarning,
            stacklevel=2,
        )
        return StudyContext
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
