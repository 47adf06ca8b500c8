"""How right labels by detection are, and how well they know it, on units of known truth.

`python -m benchmarks.labels` makes units whose truth is written down: an attribute of the generated
world, a conjunction, a disjunction, two meanings of unlike strength, a negation, a superstimulus, a
count, a rare conjunction, and random ones. Their activations on 4,096 scenes are drawn around the
truth with noise, captions name every attribute and some of their words are wrong. So the label's
method is on trial alone, without a network, a captioner or a painter. Seeds of the report are used
for nothing else.

`--calibrate` fits the three numbers of `label_confidence.probability` on other seeds, and prints
them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw
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
from dnd_assets.methods.dissection.candidate_concepts import consensus_concepts
from dnd_assets.methods.dissection.detection_label import (
    DetectionLabel,
    DetectionSettings,
    ReferenceImages,
    label_by_detection,
    reference_of,
)
from dnd_assets.methods.dissection.exemplars import Floats, top_k
from dnd_assets.methods.dissection.label_confidence import COVERAGE, Evidence, probability
from dnd_assets.methods.metrics.bootstrap import mean_interval
from dnd_assets.methods.seeds import content_seed

IMAGES: Final = 4096
REFERENCE: Final = 1000
EXEMPLARS: Final = 10
REPORTED: Final = (21, 22, 23, 24, 25)
CALIBRATED: Final = (101, 102, 103, 104, 105, 106)
KINDS: Final = (
    "attribute", "conjunction", "superstimulus", "disjunction", "attribute", "random", "count",
    "negation", "attribute", "shuffled", "rare", "conjunction", "dead",
    "polysemantic",
)  # fmt: skip
"""Kinds of units, in turn."""
NOISE: Final = (0.0, 0.1, 0.3, 0.6, 1.0)
"""Standard deviation of the noise on activations whose concept adds 1."""
HIDDEN: Final = 1.0
"""Noise as large as what the concept adds; such units are reported for themselves, too."""
WRONG: Final = (0.0, 0.2)
"""Shares of wrong words in captions."""
SINGLE: Final = ("attribute", "superstimulus", "count")
"""Kinds whose truth is one attribute."""
_SWAPPED: Final = (*COLOURS, *SHAPES, *BACKGROUNDS, *SIZES, "two", "three", *TEXTURES[3:])
_STRONGEST: Final = (("size", "large"), ("colour", "red"), ("count", 3))
_FUNCTION_WORDS: Final = frozenset({"a", "an", "on", "in", "the", "at", "with", "or", "and"})

Fact = tuple[str, int | str]
Bools = NDArray[np.bool_]
Attributes = Mapping[str, NDArray[np.object_]]
"""The value of each attribute in each scene."""
EITHER: Final = ("disjunction", "polysemantic")
"""Kinds of which any fact suffices."""
_FACTS: Final = {
    "conjunction": 2, "disjunction": 2, "polysemantic": 2, "rare": 3, "random": 0, "dead": 0,
}  # fmt: skip
"""How many facts the concept of a kind has, if not one."""
_SECOND: Final = 0.8
"""What the second of two meanings adds, where the first adds 1."""
UNKNOWABLE: Final = ("random", "shuffled")
"""Kinds without a truth: the right answer is none."""


@dataclass(frozen=True)
class KnownUnit:
    """A unit whose truth is known.

    Attributes:
        kind: one of `KINDS`.
        facts: what its concept is made of; any of them suffices for a disjunction or for two
            meanings, none may be shown for a negation, else all.
        noise: standard deviation of the noise on its activations.
    """

    kind: str
    facts: tuple[Fact, ...]
    noise: float

    def holds(self, scenes: Attributes) -> Bools:
        """Whether each scene shows the concept."""
        shown = self.shown(scenes)
        if self.kind == "negation":
            return ~shown[0]
        return np.asarray(shown.any(axis=0) if self.kind in EITHER else shown.all(axis=0))

    def shown(self, scenes: Attributes) -> Bools:
        """Whether each scene shows each fact, (facts, scenes)."""
        return np.array([scenes[name] == value for name, value in self.facts])

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
        gap: see `Evidence`.
        noise: of the unit's activations.
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
    gap: float
    noise: float


def unit_of(kind: str, rng: np.random.Generator) -> KnownUnit:
    """Draw a unit of a kind."""
    noise = float(rng.choice(NOISE))
    number = _FACTS.get(kind, 1)
    free = [name for name in ATTRIBUTES if name != "count"]
    # What is not large is small, and that says it better.
    free = [name for name in free if kind != "negation" or name != "size"]
    names = ["count"] if kind == "count" else rng.choice(free, size=number, replace=False).tolist()
    facts = []
    for name in names:
        values = [value for value in VALUES[name] if value not in ("plain", 1)]
        facts.append((name, values[int(rng.integers(len(values)))]))
    return KnownUnit(kind, tuple(facts), noise)


def activations_of(unit: KnownUnit, scenes: Attributes, rng: np.random.Generator) -> Floats:
    """Activation on each scene: 1 where the concept is shown, more for a superstimulus, noise.

    The second of two meanings adds eight tenths.

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
    shown = unit.holds(scenes).astype(float)
    if unit.kind == "polysemantic":
        first = unit.shown(scenes)[0]
        shown *= np.where(first, 1.0, _SECOND)
    values = shown * (1 + gain * np.asarray(extra, dtype=float)) + noise
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
    reference: ReferenceImages


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
            unit.kind, "", exact=unit.kind == "dead", precision=0.0, recall=0.0, covered=False,
            confidence=0.0, held_out=0.0, stability=0.0, gap=0.0, noise=unit.noise,
        )  # fmt: skip
    truth, text = unit.truth(), found.best.candidate.text
    said = said_words(text)
    common = len(said & truth)
    return Outcome(
        unit.kind, text, _same(text, unit), common / len(said),
        common / len(truth) if truth else 0.0,
        any(_same(label, unit) for label, _ in found.evidence.label_set),
        found.confidence, found.evidence.held_out, found.evidence.stability,
        found.evidence.gap, unit.noise,
    )  # fmt: skip


def said_words(text: str) -> frozenset[str]:
    """The content words of a label, in singular."""
    return frozenset(words(text)) - _FUNCTION_WORDS


def _same(label: str, unit: KnownUnit) -> bool:
    joined = bool(re.search(r"\bor\b", label)) == (unit.kind in EITHER)
    known = bool(unit.facts) and unit.kind not in UNKNOWABLE
    return known and joined and said_words(label) == unit.truth()


def of_seed(seed: int, units: int, wrong: float) -> list[Outcome]:
    """So many units of one seed, labelled and judged."""
    world = world_of(seed, wrong)
    found = []
    for index in range(units):
        drawn = content_seed("known unit", seed, index)
        unit = unit_of(KINDS[index % len(KINDS)], np.random.default_rng(drawn))
        found.append(judged(unit, labelled(unit, world, drawn + 1)))
    return found


def run(seeds: Sequence[int], units: int, wrong: Sequence[float], workers: int) -> list[Outcome]:
    """So many units of each seed and each share of wrong words, in this order."""
    asked = [(seed, units, share) for share in wrong for seed in seeds]
    with ProcessPoolExecutor(workers) as pool:
        return [one for some in pool.map(of_seed, *zip(*asked, strict=True)) for one in some]


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
    found = [one for one in found if one.label]
    features = np.array([[1.0, one.held_out, one.stability] for one in found])
    right = np.array([one.exact for one in found], dtype=float)

    def loss(weights: Floats) -> float:
        logits = features @ weights
        return float((np.logaddexp(0, logits) - right * logits).mean() + 1e-5 * weights @ weights)

    return [round(float(value), 2) for value in minimize(loss, np.zeros(3)).x]


def share(values: Sequence[float]) -> str:
    """A mean in per cent with its interval and the number of units."""
    if not values:
        return "-"
    mean = f"{np.mean(values):.1%}"
    if len(values) < 2:
        return f"{mean} of {len(values)}"
    low, high = mean_interval(values)
    return f"{mean} ({low:.1%} to {high:.1%}) of {len(values)}"


def _table(found: Sequence[Outcome], threshold: float) -> list[str]:
    lines = ["| kind | exact | precision | recall | labelled |", "|---|---|---|---|---|"]
    for kind in dict.fromkeys(one.kind for one in found):
        mine = [one for one in found if one.kind == kind]
        truth = kind not in UNKNOWABLE
        exact = share([float(one.exact) for one in mine]) if truth else "-"
        said = truth and kind != "dead"
        means = [
            f"{np.mean([getattr(one, name) for one in mine]):.3f}" if said else "-"
            for name in ("precision", "recall")
        ]
        labelled = share([float(one.confidence >= threshold) for one in mine])
        lines.append(f"| {kind} | {exact} | {means[0]} | {means[1]} | {labelled} |")
    return lines


def report(found: Sequence[Outcome], threshold: float = 0.5) -> str:
    """The table of kinds and the figures of the confidence, in Markdown.

    A unit counts as exact whatever its confidence; `labelled` is the share at the threshold.
    """
    planted = [one for one in found if one.kind not in (*UNKNOWABLE, "dead")]
    said = [one for one in found if one.label]
    right, scores = [one.exact for one in said], [one.confidence for one in said]
    mine = [one for one in planted if one.label]
    noisy = [float(one.exact) for one in planted if one.noise >= HIDDEN]
    clear = [one for one in planted if one.noise < HIDDEN]
    sure = [float(one.exact) for one in said if one.confidence >= threshold]
    no_truth = [float(o.confidence >= threshold) for o in found if o.kind in UNKNOWABLE]
    single = [float(one.exact) for one in clear if one.kind in SINGLE]
    figures = {
        "planted, exact": share([float(one.exact) for one in planted]),
        f"planted, noise below {HIDDEN:g}, exact": share([float(one.exact) for one in clear]),
        f"planted, noise {HIDDEN:g}, exact": share(noisy),
        "single attributes, exact": share([float(o.exact) for o in planted if o.kind in SINGLE]),
        f"single attributes, noise below {HIDDEN:g}, exact": share(single),
        f"right, of labels of confidence {threshold:g} or more": share(sure),
        "random and shuffled units labelled": share(no_truth),
        "AUROC, right against wrong": f"{auroc(right, scores):.3f} of {len(said)}",
        "AUROC, planted units alone": (
            f"{auroc([o.exact for o in mine], [o.confidence for o in mine]):.3f} of {len(mine)}"
        ),
        "expected calibration error": f"{calibration_error(right, scores):.3f}",
        f"truth in the label set ({COVERAGE:.0%})": share([float(o.covered) for o in planted]),
    }
    rows = [f"| {name} | {value} |" for name, value in figures.items()]
    return "\n".join([*_table(found, threshold), "", "| figure | value |", "|---|---|", *rows])


def plot(found: Sequence[Outcome], path: Path, bins: int = 10) -> None:
    """Share of right labels by tenths of confidence, as PNG; the line is perfect calibration."""
    side, edge = 400, 50
    picture = Image.new("RGB", (side + 2 * edge, side + 2 * edge), "white")
    draw = ImageDraw.Draw(picture)
    said = [one for one in found if one.label]
    places = np.array([min(int(one.confidence * bins), bins - 1) for one in said])
    right = np.array([one.exact for one in said], dtype=float)
    sure = np.array([one.confidence for one in said])
    bottom = edge + side
    for place in range(bins):
        mine = places == place
        if not mine.any():
            continue
        left, width = edge + place * side // bins, side // bins
        top = bottom - round(side * right[mine].mean())
        draw.rectangle((left + 2, top, left + width - 2, bottom), fill=(140, 170, 210))
        x, y = edge + side * sure[mine].mean(), bottom - side * right[mine].mean()
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill="black")
        draw.text((left + 6, bottom - 14), f"{mine.sum()}", fill="black")
    draw.line((edge, bottom, edge + side, edge), fill=(200, 60, 60), width=2)
    draw.rectangle((edge, edge, edge + side, bottom), outline="black")
    for tick in (0.0, 0.5, 1.0):
        draw.text((edge + side * tick - 8, bottom + 8), f"{tick:g}", fill="black")
        draw.text((edge - 24, bottom - side * tick - 6), f"{tick:g}", fill="black")
    draw.text((edge + side // 2 - 30, bottom + 26), "confidence", fill="black")
    draw.text((edge, edge - 20), "share of labels that are exact; numbers: labels", fill="black")
    picture.save(path, optimize=True)


def read(path: Path) -> list[Outcome]:
    """Units of an earlier run; their confidence follows from their evidence anew."""
    stored = [Outcome(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
    return [
        replace(one, confidence=probability(Evidence(one.held_out, one.stability, one.gap, ())))
        if one.label else one
        for one in stored
    ]  # fmt: skip


def main(
    units: Annotated[int, typer.Option(help="Units a seed")] = 70,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Fit the confidence")] = False,
    out: Annotated[Path | None, typer.Option(help="A JSON file of all units")] = None,
    given: Annotated[Path | None, typer.Option(help="Units of an earlier run, by --out")] = None,
    chart: Annotated[Path | None, typer.Option("--plot", help="Calibration plot, PNG")] = None,
    workers: Annotated[int, typer.Option(help="Processes")] = 2,
) -> None:
    """Label units of known truth and hold the labels against it."""
    seeds = CALIBRATED if calibrate else REPORTED
    every = run(seeds, units, WRONG, workers) if given is None else read(given)
    units = len(every) // len(seeds) // len(WRONG)
    for place, wrong in enumerate(WRONG):
        mine = every[place * len(seeds) * units : (place + 1) * len(seeds) * units]
        typer.echo(f"\n{wrong:.0%} of the captions' words wrong\n\n{report(mine)}")
    typer.echo(f"\nboth\n\n{report(every)}")
    if calibrate:
        typer.echo(f"\nconstant, held out, stability: {calibrated(every)}")
    if out is not None:
        out.write_text(json.dumps([asdict(one) for one in every]), encoding="utf-8")
    if chart is not None:
        plot(every, chart)


if __name__ == "__main__":
    typer.run(main)
