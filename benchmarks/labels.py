"""How right labels by detection are, and how well they know it, on units of known truth.

`python -m benchmarks.labels` makes units whose truth is written down: an attribute of the generated
world, a conjunction, a disjunction, a negation, a superstimulus, a count, a rare conjunction, and
random ones. Their activations on 4,096 scenes are drawn around the truth with noise, captions name
every attribute and some of their words are wrong. So the label's method is on trial alone, without
a network, a captioner or a painter. Seeds of the report are used for nothing else.

`--calibrate` fits the three numbers of `label_confidence.probability` on other seeds, and prints
them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.optimize import minimize

from dnd_assets.known_answers.target import words
from dnd_assets.known_answers.world import (
    ATTRIBUTES,
    BACKGROUNDS,
    COLOURS,
    COUNT_WORDS,
    SHAPES,
    SIZES,
    TEXTURES,
    VALUES,
    caption,
    probing_seed,
    scene,
)
from dnd_assets.methods.concepts import consensus_concepts
from dnd_assets.methods.detection_label import (
    DetectionLabel,
    DetectionSettings,
    Reference,
    label_by_detection,
    reference_of,
)
from dnd_assets.methods.exemplars import Floats, top_k
from dnd_assets.methods.label_confidence import COVERAGE
from dnd_assets.methods.seeds import content_seed

IMAGES: Final = 4096
REFERENCE: Final = 1000
EXEMPLARS: Final = 10
REPORTED: Final = (11, 12, 13, 14, 15)
CALIBRATED: Final = (101, 102, 103, 104, 105, 106)
KINDS: Final = (
    "attribute", "conjunction", "superstimulus", "disjunction", "attribute", "random", "count",
    "negation", "attribute", "shuffled", "rare", "conjunction", "dead",
)  # fmt: skip
"""Kinds of units, in turn."""
NOISE: Final = (0.0, 0.1, 0.3, 0.6, 1.0)
"""Standard deviation of the noise on activations whose concept adds 1."""
_SWAPPED: Final = (*COLOURS, *SHAPES, *BACKGROUNDS, *SIZES, "two", "three", *TEXTURES[3:])
_STRONGEST: Final = (("size", "large"), ("colour", "red"), ("count", 3))
_FUNCTION_WORDS: Final = frozenset({"a", "an", "on", "in", "the", "at", "with", "or", "and"})

Fact = tuple[str, int | str]
Bools = NDArray[np.bool_]
Attributes = Mapping[str, NDArray[np.object_]]
"""The value of each attribute in each scene."""
UNKNOWABLE: Final = ("random", "shuffled")
"""Kinds without a truth: the right answer is none."""


@dataclass(frozen=True)
class KnownUnit:
    """A unit whose truth is known.

    Attributes:
        kind: one of `KINDS`.
        facts: what its concept is made of; any of them suffices for a disjunction, none may be
            shown for a negation, else all.
        noise: standard deviation of the noise on its activations.
    """

    kind: str
    facts: tuple[Fact, ...]
    noise: float

    def holds(self, scenes: Attributes) -> Bools:
        """Whether each scene shows the concept."""
        shown = np.array([scenes[name] == value for name, value in self.facts])
        if self.kind == "negation":
            return ~shown[0]
        return np.asarray(shown.any(axis=0) if self.kind == "disjunction" else shown.all(axis=0))

    def truth(self) -> frozenset[str]:
        """The words that a right label has, in singular; none of a random unit."""
        named = [COUNT_WORDS[v] if isinstance(v, int) else v for _, v in self.facts]
        said = ["not", *named] if self.kind == "negation" else named
        return frozenset(word for name in said for word in words(name))


@dataclass(frozen=True)
class Outcome:
    """What came of one unit.

    Attributes:
        kind: of the unit.
        label: what it was called; empty where no phrase was found.
        exact: whether the label names its concept and nothing else.
        precision: share of the label's words that are in the truth.
        recall: share of the truth's words that are in the label.
        covered: whether the truth is in the bootstrap's label set.
        confidence: probability of being right that the method gives.
        held_out: see `Evidence`.
        stability: see `Evidence`.
    """

    kind: str
    label: str
    exact: bool
    precision: float
    recall: float
    covered: bool
    confidence: float
    held_out: float
    stability: float


def unit_of(kind: str, rng: np.random.Generator) -> KnownUnit:
    """Draw a unit of a kind."""
    noise = float(rng.choice(NOISE))
    number = {"conjunction": 2, "disjunction": 2, "rare": 3, "random": 0, "dead": 0}.get(kind, 1)
    free = [name for name in ATTRIBUTES if name != "count"]
    names = ["count"] if kind == "count" else rng.choice(free, size=number, replace=False).tolist()
    facts = []
    for name in names:
        values = [value for value in VALUES[name] if value not in ("plain", 1)]
        facts.append((name, values[int(rng.integers(len(values)))]))
    return KnownUnit(kind, tuple(facts), noise)


def activations_of(unit: KnownUnit, scenes: Attributes, rng: np.random.Generator) -> Floats:
    """Activation on each scene: 1 where the concept is shown, more for a superstimulus, noise.

    A dead unit is 0 everywhere; a shuffled one has the activations of an attribute's unit, each on
    another scene.
    """
    count = len(scenes["size"])
    if unit.kind == "dead":
        return np.zeros(count)
    noise = rng.normal(size=count) * (unit.noise + 0.02)
    if unit.kind == "random":
        return noise
    # The strongest pictures of a superstimulus are all large, red and three.
    extra = sum(scenes[name] == value for name, value in _STRONGEST)
    gain = 2.0 / len(_STRONGEST) if unit.kind == "superstimulus" else 0.0
    values = unit.holds(scenes) * (1 + gain * np.asarray(extra, dtype=float)) + noise
    return np.asarray(rng.permutation(values) if unit.kind == "shuffled" else values)


def misread(text: str, rate: float, seed: int) -> str:
    """A caption with a share of its content words replaced by other words of the world."""
    rng = np.random.default_rng(seed)
    kept = [
        word if word in _FUNCTION_WORDS or rng.random() >= rate else str(rng.choice(_SWAPPED))
        for word in text.split()
    ]
    return " ".join(kept)


@dataclass(frozen=True)
class World:
    """Scenes of one probing set with their captions, and random ones among them."""

    names: Sequence[str]
    scenes: Attributes
    captions: Sequence[str]
    reference: Reference


def world_of(seed: int, wrong: float) -> World:
    """4,096 scenes of a probing set, with captions of which a share of the words is wrong."""
    scenes = [scene(probing_seed(index, seed)) for index in range(IMAGES)]
    names = [f"{content_seed('scene', seed, index):016x}" for index in range(IMAGES)]
    texts = [
        misread(caption(one), wrong, content_seed("misread", name))
        for one, name in zip(scenes, names, strict=True)
    ]
    order = sorted(range(IMAGES), key=lambda at: names[at])[:REFERENCE]
    drawn = reference_of([names[at] for at in order], [texts[at] for at in order])
    seen = {name: np.array([getattr(s, name) for s in scenes], dtype=object) for name in ATTRIBUTES}
    return World(names, seen, texts, drawn)


def labelled(unit: KnownUnit, world: World, seed: int) -> DetectionLabel | None:
    """The unit's label by detection, as a study would find it without crops."""
    values = activations_of(unit, world.scenes, np.random.default_rng(seed))
    top = top_k(values, world.names, EXEMPLARS)
    exemplars = {world.names[at]: world.captions[at] for at in top}
    active = dict(zip(world.names, values.tolist(), strict=True))
    known = {name: active[name] for name in (*world.reference.images, *exemplars)}
    summary = consensus_concepts(list(exemplars.values()), 5)
    return label_by_detection(
        f"{unit} {seed}", summary, exemplars, world.reference, known, DetectionSettings()
    )


def judged(unit: KnownUnit, found: DetectionLabel | None) -> Outcome:
    """A label held against the truth, word for word."""
    if found is None:
        return Outcome(
            unit.kind, "", exact=unit.kind == "dead", precision=0.0, recall=0.0, covered=False, confidence=0.0,
            held_out=0.0, stability=0.0,
        )  # fmt: skip
    truth, text = unit.truth(), found.best.candidate.text
    said = said_words(text)
    common = len(said & truth)
    return Outcome(
        unit.kind, text, _same(text, unit), common / len(said),
        common / len(truth) if truth else 0.0,
        any(_same(label, unit) for label, _ in found.evidence.label_set),
        found.confidence, found.evidence.held_out, found.evidence.stability,
    )  # fmt: skip


def said_words(text: str) -> frozenset[str]:
    """The content words of a label, in singular."""
    return frozenset(words(text)) - _FUNCTION_WORDS


def _same(label: str, unit: KnownUnit) -> bool:
    joined = bool(re.search(r"\bor\b", label)) == (unit.kind == "disjunction")
    known = bool(unit.facts) and unit.kind not in UNKNOWABLE
    return known and joined and said_words(label) == unit.truth()


def run(
    seeds: Sequence[int], units: int, wrong: float, say: Callable[[str], None]
) -> list[Outcome]:
    """So many units of each seed, labelled and judged."""
    found = []
    for seed in seeds:
        world = world_of(seed, wrong)
        for index in range(units):
            drawn = content_seed("known unit", seed, index)
            unit = unit_of(KINDS[index % len(KINDS)], np.random.default_rng(drawn))
            found.append(judged(unit, labelled(unit, world, drawn + 1)))
        say(f"seed {seed}: {sum(one.exact for one in found):,} of {len(found):,} exact so far")
    return found


def auroc(right: Sequence[bool], scores: Sequence[float]) -> float:
    """Probability that a right label has a larger score than a wrong one; ties count half."""
    yes = np.array([s for r, s in zip(right, scores, strict=True) if r])
    no = np.array([s for r, s in zip(right, scores, strict=True) if not r])
    if not len(yes) or not len(no):
        return float("nan")
    above = (yes[:, None] > no).mean() + (yes[:, None] == no).mean() / 2
    return float(above)


def calibration_error(right: Sequence[bool], scores: Sequence[float], bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence and share right, by tenths."""
    r, s = np.array(right, dtype=float), np.array(scores)
    places = np.minimum((s * bins).astype(int), bins - 1)
    parts = [places == place for place in range(bins)]
    return float(sum(abs(r[p].mean() - s[p].mean()) * p.mean() for p in parts if p.any()))


def calibrated(found: Sequence[Outcome]) -> list[float]:
    """Constant and weights of the logistic function that fits best, lightly held near zero."""
    features = np.array([[1.0, one.held_out, one.stability] for one in found])
    right = np.array([one.exact for one in found], dtype=float)

    def loss(weights: np.ndarray) -> float:
        logits = features @ weights
        return float((np.logaddexp(0, logits) - right * logits).mean() + 1e-4 * weights @ weights)

    return [round(float(value), 3) for value in minimize(loss, np.zeros(3)).x]


def report(found: Sequence[Outcome], threshold: float = 0.5) -> dict[str, object]:
    """What the table and the figures are made of."""
    kinds = {}
    for kind in dict.fromkeys(one.kind for one in found):
        mine = [one for one in found if one.kind == kind]
        kinds[kind] = {
            "units": len(mine),
            "exact": float(np.mean([one.exact for one in mine])),
            "precision": float(np.mean([one.precision for one in mine])),
            "recall": float(np.mean([one.recall for one in mine])),
            "labelled": float(np.mean([one.confidence >= threshold for one in mine])),
        }
    planted = [one for one in found if one.kind not in (*UNKNOWABLE, "dead")]
    right, scores = [one.exact for one in found], [one.confidence for one in found]
    return {
        "kinds": kinds,
        "planted exact": float(np.mean([one.exact for one in planted])),
        "AUROC": auroc(right, scores),
        "calibration error": calibration_error(right, scores),
        f"truth in the label set ({COVERAGE:.0%})": float(np.mean([o.covered for o in planted])),
    }


def main(
    units: Annotated[int, typer.Option(help="Units a seed")] = 64,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Fit the confidence")] = False,
    out: Annotated[Path | None, typer.Option(help="A JSON file of all units")] = None,
) -> None:
    """Label units of known truth and hold the labels against it."""
    seeds = CALIBRATED if calibrate else REPORTED
    every: list[Outcome] = []
    for wrong in (0.0, 0.2):
        found = run(seeds, units, wrong, lambda text: typer.echo(text, err=True))
        every += found
        typer.echo(f"\n{wrong:.0%} of the captions' words wrong")
        typer.echo(json.dumps(report(found), indent=1))
    if calibrate:
        typer.echo(f"constant, held out, stability: {calibrated(every)}")
    else:
        typer.echo("\nboth\n" + json.dumps(report(every), indent=1))
    if out is not None:
        out.write_text(json.dumps([asdict(one) for one in every]), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
