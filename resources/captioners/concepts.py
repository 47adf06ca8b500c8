"""Captions from a fixed set of concepts: the paper's ablation of its generative captioner.

A picture is said to show the concepts whose texts are nearest to it in the study's image-text
space, as in CLIP-Dissect. No caption can then say what the set does not.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL.Image import Image

from dnd_assets.files.concept_sets import ConceptSet, prompts, read_concepts
from dnd_assets.lineage.fingerprint import Json, digest
from dnd_assets.methods import retrieval
from resources.captioners.base import Captioner
from resources.checkpoints import PACKAGE, local_path
from resources.encoders.base import Embeddings, ImageTextEncoder
from resources.runtime.compute import in_order, load_once
from resources.runtime.progress import Progress


class ConceptCaptioner(Captioner):
    """The concepts nearest to a picture, nearest first; ties by their text.

    Attributes:
        concepts: a text file with one concept a line, or `package:module/path`.
        prompt: the text that stands for a concept, with `{concept}`; None is the concept itself.
        top: concepts in a caption, separated by commas.
        base: folder that a relative path starts from.
        encoder: the space in which pictures and texts are compared.
    """

    concepts: str
    prompt: str | None = None
    top: int = 1
    base: str | None = None
    encoder: ImageTextEncoder

    def title(self) -> str:
        """The set and the encoder."""
        return f"concepts of {self.concepts} by {self.encoder.title()}"

    def check(self) -> None:
        """Read the concepts, and find the encoder without loading it.

        Raises:
            NotFoundError: when the file is not there; names the nearest.
            StudyError: when it is not sound, or the encoder is not on this machine.
        """
        self._set()
        self.encoder.check()

    def fingerprint(self) -> dict[str, Json]:
        """The concepts in whatever order, their prompt, and the encoder."""
        return {
            "kind": "concepts",
            "concepts": digest(sorted(self._set().concepts)),
            "prompt": self._prompt(),
            "top": self.top,
            "encoder": self.encoder.fingerprint(),
            "code": self.code(),
        }

    def caption(
        self,
        images: Sequence[Image],
        batch_size: int,
        on_batch: Callable[[Sequence[Image], Sequence[str]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """The nearest concepts of each picture, in order; see `Captioner.caption`."""
        if not images:
            return []
        names = sorted(self._set().concepts)
        texts = self._texts(names)

        def run(batch: Sequence[Image]) -> list[str]:
            vectors = self.encoder.embed_images(batch, batch_size)
            nearest = retrieval.nearest_rows(vectors, texts, names, self.top)
            return [", ".join(names[index] for index in indices) for indices in nearest]

        return in_order(images, run, batch_size, on_batch, progress)

    def _texts(self, names: Sequence[str]) -> Embeddings:
        """Embeddings of the concepts' texts, (M, D)."""

        def embed() -> Embeddings:
            return np.asarray(self.encoder.embed_texts(prompts(names, self._prompt())))

        key = ("concepts", tuple(names), self._prompt(), digest(self.encoder.fingerprint()))
        vectors: Embeddings = load_once(key, embed)
        return vectors

    def _prompt(self) -> str:
        return "{concept}" if self.prompt is None else self.prompt

    def _set(self) -> ConceptSet:
        packaged = local_path(self.concepts) if self.concepts.startswith(PACKAGE) else None
        path = Path(self.base or ".") / Path(self.concepts).expanduser()
        return read_concepts(packaged or path.resolve())
