"""Vectors of texts that are asked once and not stored, made in parts by whoever does the work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.engine.cache.shared_results import text_embeddings_of
from dnd_assets.engine.cache.vector_blocks import array, in_parts
from dnd_assets.engine.cache.vectors import Matrix
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.workers.at_work import agree
from dnd_assets.engine.workers.handing_out import hand_out
from dnd_assets.engine.workers.parts import Part, PartResult
from dnd_assets.methods.metrics.bertscore import Tokens
from resources.encoders.sentence import SentenceEncoder
from resources.runtime.progress import Progress

_TEXTS: Final = 256
"""Texts in a part."""


def unstored_embeddings(context: StudyContext, texts: Sequence[str]) -> dict[str, Matrix]:
    """Unit-length embeddings of distinct texts by the image-text encoder, float32 (width,) each."""
    provider = context.lineage.provider(context.known_by(context.clip))
    vectors: dict[str, Matrix] = {}
    for part, result in hand_out(context, text_embeddings_of, _parts(texts, provider)):
        vectors |= zip(part.about["texts"], array(result, "values"), strict=True)
    return vectors


def sentence_vectors(
    context: StudyContext, texts: Sequence[str]
) -> tuple[dict[str, Matrix], dict[str, Tokens]]:
    """What the study's sentence encoder makes of distinct texts: a vector, and tokens, of each."""
    provider = context.lineage.provider(_encoder(context).fingerprint())
    vectors: dict[str, Matrix] = {}
    tokens: dict[str, Tokens] = {}
    for part, result in hand_out(context, sentence_vectors_of, _parts(texts, provider)):
        names = part.about["texts"]
        vectors |= zip(names, array(result, "vectors"), strict=True)
        tokens |= zip(names, _unpacked(result.arrays), strict=True)
    context.count("sentence embeddings", len(texts))
    return vectors, tokens


def sentence_vectors_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """Vectors and tokens of a part's texts."""
    encoder, texts = _encoder(context), part.about["texts"]
    agree(context, part, lambda: context.lineage.provider(encoder.fingerprint()))
    packed = _packed(encoder.encode_tokens(texts))
    return PartResult(arrays={"vectors": encoder.encode(texts), **packed})


def _encoder(context: StudyContext) -> SentenceEncoder:
    assert context.sentences is not None, "asked of studies that name one"
    return context.sentences


def _parts(texts: Sequence[str], provider: str) -> Iterable[Part]:
    for block in in_parts(texts, _TEXTS):
        yield Part(block, (), {"texts": list(block)}, provider)


def _packed(tokens: Sequence[Tokens]) -> dict[str, NDArray[np.generic]]:
    """The tokens of texts one after the other, and how many each has."""
    return {
        "tokens": np.concatenate([text.vectors for text in tokens]),
        "counted": np.concatenate([text.counted for text in tokens]),
        "lengths": np.array([len(text.counted) for text in tokens], dtype=np.int64),
    }


def _unpacked(arrays: Mapping[str, NDArray[np.generic]]) -> list[Tokens]:
    """The inverse of `_packed`."""
    ends = np.cumsum(arrays["lengths"])[:-1].tolist()
    vectors = np.split(arrays["tokens"].astype(np.float32, copy=False), ends)
    counted = np.split(arrays["counted"].astype(np.bool_, copy=False), ends)
    return [Tokens(*pair) for pair in zip(vectors, counted, strict=True)]
