"""Phrases as a user or a summariser would write them, drawn for training, and their words."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from dnd_assets.known_answers.world import (
    ATTRIBUTES,
    BACKGROUNDS,
    COLOURS,
    COUNT_WORDS,
    PLURALS,
    SHAPES,
    SIZES,
    TEXTURES,
    Scene,
    caption,
    phrase,
)

PREFIX: Final = "one realistic image of"

_SHARES: Final = (0.28, 0.34, 0.24, 0.14)


def vocabulary() -> tuple[str, ...]:
    """All words of captions, phrases and the painting prompt, sorted."""
    texts = [*COUNT_WORDS.values(), *SIZES, *COLOURS, *SHAPES, *PLURALS.values(), *TEXTURES]
    texts += [*BACKGROUNDS, PREFIX, "a an on in the at with shape shapes object objects"]
    texts += ["and or of stripe striped check checked checkered dot dotted background pattern"]
    return tuple(sorted({word for text in texts for word in text.split()}))


def random_phrase(scene: Scene, rng: np.random.Generator, full: float = 0.15) -> str:
    """A phrase true of `scene`: its caption with probability `full`, else some attributes."""
    if rng.random() < full:
        return caption(scene)
    size = 1 + int(rng.choice(len(_SHARES), p=_SHARES))
    if size > 1 and scene.texture == "plain":
        # Plain texture has no word, so draw from the attributes that have.
        names = [name for name in ATTRIBUTES if name != "texture"]
    else:
        names = list(ATTRIBUTES)
    attributes = set(rng.choice(names, size=size, replace=False).tolist())
    if attributes == {"texture"} and scene.texture == "plain":
        attributes = {"shape"}
    if "texture" in attributes and "stripes" in scene.texture and rng.random() < 0.15:
        scene = dataclasses.replace(scene, texture="stripes")
    text = phrase(scene, attributes, plural=bool(rng.random() < 0.5))
    if not {"shape", "count"} & attributes and rng.random() < 0.5:
        text = text.replace(" with ", " ")
    if attributes == {"count"} and rng.random() < 0.5:
        text = COUNT_WORDS[scene.count]
    return text.replace("shape", "object") if rng.random() < 0.3 else text


def random_prompt(scene: Scene, rng: np.random.Generator) -> str:
    """A painting prompt true of `scene`; empty in a tenth of the cases, for guidance."""
    if rng.random() < 0.1:
        return ""
    text = random_phrase(scene, rng, full=0.35)
    return text if rng.random() < 0.15 else f"{PREFIX} {text}"
