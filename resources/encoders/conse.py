"""ConSE: an image-text space from a classifier and a sentence encoder (Norouzi et al. 2014)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import scipy
from PIL.Image import Image

from dnd_assets.errors import StudyError
from dnd_assets.files.images import pixel_hash
from dnd_assets.lineage.fingerprint import Json, canonical
from dnd_assets.methods import conse
from resources.encoders.base import Embeddings, ImageTextEncoder
from resources.encoders.sentence import SentenceEncoder
from resources.model import ModelPart
from resources.runtime.compute import Compute, load_once
from resources.runtime.progress import Progress
from resources.runtime.threads import in_threads
from resources.targets.network_sources import TargetModel, find_source, source_part
from resources.targets.networks import TargetNetworks

_NAME = "classifier"


_MOST_VECTORS = 50_000
_texts: dict[tuple[str, str], Embeddings] = {}
_vectors: dict[tuple[str, str], Embeddings] = {}
"""Vectors of texts and of pictures, by what encoded them: captions by retrieval, embeddings and
scores ask for the same ones."""


def _remember(
    memory: dict[tuple[str, str], Embeddings], vectors: dict[tuple[str, str], Embeddings]
) -> None:
    if len(memory) + len(vectors) > _MOST_VECTORS:
        memory.clear()
    memory.update(vectors)


class Conse(ImageTextEncoder):
    """Pictures as the mean of the embeddings of their likeliest classes, weighted by probability.

    Attributes:
        classifier: a source of networks, such as `efficientnet-lite:efficientnet-lite2`, that
            knows the names of its classes.
        classifier_weights: a weights file, where the source needs one.
        sentences: folder or hub id of the sentence encoder.
        revision: branch, tag or commit of that hub id.
        top: T, classes that stand for a picture.
        base: folder that relative paths start from.
        cards: folder that keeps what was learned of the classifier; None keeps it in memory.
        compute: device and precision.
    """

    classifier: str
    classifier_weights: str | None = None
    sentences: str
    revision: str | None = None
    top: int = conse.TOP
    base: str | None = None
    cards: str | None = None
    compute: Compute

    def title(self) -> str:
        """Both models by name."""
        return f"ConSE of {self.classifier} and {self.sentences}"

    def check(self) -> None:
        """Find both models without loading them.

        Raises:
            StudyError: when one is not on this machine, naming the command that gets it.
        """
        find_source(self._spec(), self.base)
        self._sentences.check()

    def parts(self) -> list[ModelPart]:
        """The classifier, whose source pins it, and the sentence encoder."""
        classifier = source_part(self._spec(), self.base, role="classifier", pin="classifier")
        return [classifier, *(replace(part, role="sentences") for part in self._sentences.parts())]

    def assumptions(self) -> list[str]:
        """Assumptions of the classifier and of the sentence encoder."""
        of_classifier = [text for _, text in self._networks.every_assumption()]
        return [*of_classifier, *self._sentences.assumptions()]

    def fingerprint(self) -> dict[str, Json]:
        """Both models, and how many classes stand for a picture."""
        return {
            "space": "ConSE",
            "classifier": self._networks.fingerprint(_NAME),
            "sentences": self._sentences.fingerprint(),
            "top": self.top,
            "code": self.code(),
        }

    def embed_images(
        self,
        images: Sequence[Image],
        batch_size: int,
        on_batch: Callable[[Sequence[Image], Sequence[Embeddings]], None] | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Unit vectors of pictures, see `dnd_assets.methods.conse.conse`."""
        import torch

        from dnd_assets.methods.pooling import stabilise

        classes, networks, space = self._classes(), self._networks, self._space

        def embed(batch: Sequence[Image]) -> Embeddings:
            logits = networks.outputs(_NAME, batch, len(batch)).astype(np.float64)
            shares = scipy.special.softmax(logits, axis=1)
            rows = conse.conse(shares, classes, self.top)
            return np.asarray(stabilise(torch.from_numpy(rows)).numpy())

        def run(batch: Sequence[Image]) -> list[Embeddings]:
            names = [(space, pixels) for pixels in in_threads(pixel_hash, batch)]
            if not all(name in _vectors for name in names):
                # The whole batch: of fewer pictures the last bits might be others.
                _remember(_vectors, dict(zip(names, embed(batch), strict=True)))
            return [_vectors[name] for name in names]

        rows = self.compute.in_batches(
            images,
            run,
            batch_size,
            pad=self.compute.accelerated,
            on_batch=on_batch,
            progress=progress,
        )
        return np.stack(rows) if rows else np.zeros((0, classes.shape[1]), np.float32)

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64) -> Embeddings:
        """Unit vectors of texts by the sentence encoder, float32 (N, D).

        Each text is encoded by itself, so those of before are remembered: retrieval and scoring
        ask for the same concepts.
        """
        sentences, space = self._sentences, self._text_space
        missing = [text for text in dict.fromkeys(texts) if (space, text) not in _texts]
        encoded = dict(zip(missing, sentences.encode(missing), strict=True))
        rows = [encoded[text] if text in encoded else _texts[space, text] for text in texts]
        _remember(_texts, {(space, text): vector for text, vector in encoded.items()})
        return np.stack(rows) if rows else sentences.encode([])

    def _classes(self) -> Embeddings:
        """Embeddings of the class names, (C, D).

        Raises:
            StudyError: when the classifier does not know the names of its classes.
        """
        names = self._networks.categories(_NAME)
        if not names:
            raise StudyError(
                f"{self.classifier!r} does not know the names of its classes, which ConSE needs. "
                "Choose a classifier that does, such as torchvision:resnet50@IMAGENET1K_V2."
            )
        embeddings: Embeddings = load_once(
            ("conse", tuple(names), self._text_space),
            lambda: self._sentences.encode(names),
        )
        return embeddings

    @cached_property
    def _space(self) -> str:
        """The key of remembered vectors of pictures; made once, since it reads all files."""
        return canonical(self.fingerprint())

    @cached_property
    def _text_space(self) -> str:
        """The key of remembered vectors of texts."""
        return canonical(self._sentences.fingerprint())

    def _spec(self) -> TargetModel:
        return TargetModel(name=_NAME, source=self.classifier, weights=self.classifier_weights)

    @cached_property
    def _networks(self) -> TargetNetworks:
        return TargetNetworks(
            models=[self._spec()], base=self.base, cards=self.cards, compute=self.compute
        )

    @cached_property
    def _sentences(self) -> SentenceEncoder:
        return SentenceEncoder(
            model=self.sentences,
            revision=self.revision,
            base=self.base,
            exact=True,
            compute=self.compute,
        )
