"""Seconds per neuron on a card, with the paper's models at full size and random weights.

    python -m benchmarks.gpu            measure and print
    python -m benchmarks.gpu --write    put the table into docs/performance.md, too
    python -m benchmarks.gpu --floor    only count operations, on any machine, at once
    python -m benchmarks.gpu --tiny     the same path with tiny models, on any machine

Nothing is downloaded. The product itself runs: its stages, resources, stores and records, on
checkpoints written to a temporary folder. Only the summariser is replaced, by one that gives each
neuron concepts of its own, so that no picture is shared. Exit status 1 when a target is missed.
"""

import argparse
import itertools
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import torch

from benchmarks import flops
from benchmarks.gpu_run import (
    FEW_STEPS,
    PAPER_SETTING,
    Measured,
    Setting,
    measure,
    peak_rate,
    write_images,
)
from benchmarks.paper_models import PAPER, TINY, write_all
from resources.runtime.compute import Compute
from resources.runtime.memory import in_words

DOCS: Final = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- gpu:begin -->", "<!-- gpu:end -->"
CONCEPTS, PICTURES = 5, 10
"""Candidate concepts of a neuron, and pictures of a concept (DnD, appendix)."""
STATED: Final = {"unet": 0.68e12, "decode": 2.5e12}
"""Operations of a pass and a decoding that the targets were set with."""
PROBING_IMAGES, NEURONS = 113_305, 3_840
"""ImageNet's validation set with Broden, and the neurons of ResNet-50's four blocks: the paper's
study, over whose neurons a pass of the probing images is shared."""
PAPER_SECONDS: Final = 38.8
"""Seconds a neuron on a V100, as the paper gives them, with duplicate candidates dropped."""
FEW_STEP_TARGET, FLOOR_TARGET, REST_TARGET = 0.8, 2.0, 0.10
DISTINCT: Final = {10: 9.94, 30: 29.37, 100: 95.6, 300: 277.2, 1000: 869.0}
"""Distinct labels among so many neurons: those that the authors of DnD published for the 1,000
neurons of ResNet-50's last layer, equal labels counted once, mean of 200 draws of neurons."""
UNITS: Final = (10, 100, 1000)
_PAINTING = "synthetic_images"
_PROBING = "activations"
SMALL: Final = {"crop_size": 32, "images_per_concept": 1, "candidates": 2, "exemplars": 3}


@dataclass(frozen=True)
class Seconds:
    """Seconds of a setting.

    Attributes:
        stages: for each neuron, by stage; without the pass of the probing images.
        image: of a probing image's pass, all neurons of a layer together.
    """

    stages: dict[str, float]
    image: float

    @property
    def painting(self) -> float:
        """Text-to-image for a neuron, its pictures stored."""
        return self.stages[_PAINTING]

    @property
    def rest(self) -> float:
        """Everything else for a neuron, without the probing images."""
        return sum(self.stages.values()) - self.painting

    def total(self, neurons: int = NEURONS, share: float = 1.0) -> float:
        """A neuron in a study of so many, when `share` of the pictures have to be painted."""
        return share * self.painting + self.rest + self.image * PROBING_IMAGES / neurons


def seconds_of(found: Measured) -> Seconds:
    """What a run noted, for each neuron and each probing image."""
    stages = {one.name: one.seconds / one.neurons for one in found.stages}
    probing = next(one.seconds for one in found.stages if one.name == _PROBING)
    del stages[_PROBING]
    return Seconds(stages, probing / found.images)


def distinct(concepts: float) -> float:
    """How many of so many proposed concepts differ from all others.

    Straight lines between the logarithms of `DISTINCT`, and on at the last slope beyond (Heaps'
    law): candidates are taken to recur among neurons as the published labels do.
    """
    points = [(math.log(n), math.log(found)) for n, found in DISTINCT.items()]
    at = math.log(concepts)
    pairs = list(itertools.pairwise(points))
    (x, y), (right, top) = next((p for p in pairs if at <= p[1][0]), pairs[-1])
    return min(concepts, math.exp(y + (at - x) * (top - y) / (right - x)))


def floor(work: dict[str, float], setting: Setting, rate: float) -> float:
    """Least seconds a neuron: the denoiser's passes and the decodings at the measured peak."""
    painting = setting.steps * setting.passes * work["unet"] + work["decode"]
    return CONCEPTS * PICTURES * painting / rate


def curve(seconds: Seconds) -> list[tuple[int, float, float]]:
    """Number of neurons, share of the pictures to paint, seconds a neuron."""
    shares = {n: distinct(CONCEPTS * n) / (CONCEPTS * n) for n in UNITS}
    return [(n, share, seconds.total(n, share)) for n, share in shares.items()]


@dataclass(frozen=True)
class Target:
    """One line of the verdict."""

    name: str
    found: str
    wanted: str
    met: bool


def targets(paper: Seconds, few: Seconds, least: float) -> list[Target]:
    """What was asked for, and whether it is met."""
    total, quick = paper.total(), few.total()
    rest = _rest(paper)
    falling = [cost for *_, cost in curve(paper)]
    return [
        Target(
            "paper settings, nothing shared", f"{total:.2f} s a neuron, {total / least:.2f} floors",
            f"<= {FLOOR_TARGET:g} floors ({FLOOR_TARGET * least:.2f} s)",
            total <= FLOOR_TARGET * least,
        ),
        Target(
            "4 steps, no guidance", f"{quick:.2f} s a neuron, {PAPER_SECONDS / quick:.0f} times "
            "as fast as the paper", f"<= {FEW_STEP_TARGET} s", quick <= FEW_STEP_TARGET,
        ),
        Target(
            "everything but text-to-image, paper settings", f"{rest:.1%} of the time",
            f"<= {REST_TARGET:.0%}", rest <= REST_TARGET,
        ),
        Target(
            "cost falls with the number of neurons", " > ".join(f"{one:.2f} s" for one in falling),
            "falling", falling == sorted(falling, reverse=True) and falling[0] > falling[-1],
        ),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status."""
    given = _parsed(arguments)
    _say(_counted(flops.count(PAPER)))
    if given.floor:
        return 0
    compute = Compute(device="auto", dtype=given.dtype)
    if not compute.accelerated and not given.tiny:
        _say("Full-size models need a card; this machine has none. --tiny tries the path here.")
        return 2
    section, met = _measured(given, compute)
    if given.tiny:
        _say("These are figures of tiny models: they say that the path works, and nothing else.")
    _say(section)
    if given.write:
        put(DOCS, section)
    return 0 if given.tiny or met else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n\n")


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tiny", action="store_true", help="tiny models; never writes")
    parser.add_argument("--write", action="store_true", help=f"write the table into {DOCS.name}")
    parser.add_argument("--floor", action="store_true", help="count operations and stop")
    parser.add_argument("--neurons", type=int, default=8, help="how many to measure (8)")
    parser.add_argument("--images", type=int, default=1024, help="probing images (1024)")
    parser.add_argument("--dtype", default="bfloat16", help="float32, bfloat16 or float16")
    parser.add_argument("--batch", type=int, help="pictures painted together; else looked for")
    parser.add_argument("--no-compile", action="store_true", help="leave compute.compile off")
    given = parser.parse_args(arguments)
    if given.tiny and given.write:
        parser.error("--tiny measures nothing worth writing; leave out one of --tiny and --write")
    if given.neurons < 1 or given.images < 10:
        parser.error("at least 1 neuron and 10 images are needed")
    return given


def _measured(given: argparse.Namespace, compute: Compute) -> tuple[str, bool]:
    """The measurements as Markdown, and whether all targets are met."""
    size, small = (TINY, SMALL) if given.tiny else (PAPER, {})
    neurons, images = (1, 10) if given.tiny else (given.neurons, given.images)
    with torch.inference_mode():
        rate = peak_rate(compute.torch_device(), compute.torch_dtype())
    batch = dict.fromkeys(("target", "captioner", "text_to_image", "clip"), "auto")
    section = {
        "dtype": given.dtype,
        "compile": not given.no_compile and compute.accelerated,
        "batch": batch if given.batch is None else {**batch, "text_to_image": given.batch},
    }
    with tempfile.TemporaryDirectory(prefix="dnd-gpu-") as name:
        folder = Path(name)
        models = write_all(folder / "models", size, compute.torch_dtype())
        width, height = (40, 30) if given.tiny else (500, 375)
        write_images(folder / "images", images, width, height)
        found = [
            measure(setting, size, models, folder, neurons, section, small)
            for setting in (PAPER_SETTING, FEW_STEPS)
        ]
    counted = flops.count(size)
    own = {"unet": float(counted.unet), "decode": float(counted.decode)}
    seconds = [seconds_of(one) for one in found]
    verdict = targets(*seconds, floor(own if given.tiny else STATED, PAPER_SETTING, rate))
    head = (
        f"{datetime.now(UTC).date().isoformat()}, {compute.name()}, torch {torch.__version__}, "
        f"{given.dtype}, compile {'on' if section['compile'] else 'off'}; product of matrices at "
        f"{rate / 1e12:,.1f} TFLOP/s (the peak below)."
    )
    tables = [
        _stages(found, seconds),
        _totals(found, seconds, own, own if given.tiny else STATED, rate),
        _curve(seconds),
        _verdict(verdict),
    ]
    return "\n\n".join([head, *map("\n".join, tables)]), all(one.met for one in verdict)


def _counted(work: flops.Work) -> str:
    """The floor, before anything is measured."""
    stated = CONCEPTS * PICTURES * (50 * 2 * STATED["unet"] + STATED["decode"])
    own = CONCEPTS * PICTURES * work.painting(50, 2)
    lines = [
        "Operations of the full-size models, counted on the modules:",
        f"  pass of the denoiser {work.unet / 1e12:.3f} TFLOP (targets: 0.68, which leaves out "
        "the products within attention)",
        f"  decoding {work.decode / 1e12:.3f} TFLOP (targets: 2.5)",
        f"  prompt {work.text / 1e12:.3f}, safety checker {work.checker / 1e12:.3f}, target "
        f"{work.target / 1e12:.4f}, CLIP {work.clip / 1e12:.3f}, BLIP's picture "
        f"{work.blip / 1e12:.3f} TFLOP",
        f"  a neuron at paper settings: {stated / 1e15:.2f} PFLOP by the targets' figures, "
        f"{own / 1e15:.2f} counted;",
        f"  at 790 TFLOP/s that is {stated / 790e12:.1f} s, or {own / 790e12:.1f} s",
    ]
    return "\n".join(lines)


def _stages(found: list[Measured], seconds: list[Seconds]) -> list[str]:
    lines = [
        f"| s a neuron | {' | '.join(one.setting.name for one in found)} | peak memory |",
        f"|---|{'---:|' * len(found)}---:|",
    ]
    for stage in found[0].stages:
        if stage.name == _PROBING:
            shown = [f"{1000 * one.image:.2f} s per 1,000 images" for one in seconds]
        else:
            shown = [f"{one.stages[stage.name]:.3f}" for one in seconds]
        lines.append(f"| {stage.name} | {' | '.join(shown)} | {in_words(stage.peak_memory)} |")
    return lines


def _totals(
    found: list[Measured],
    seconds: list[Seconds],
    own: dict[str, float],
    stated: dict[str, float],
    rate: float,
) -> list[str]:
    least = [floor(stated, one.setting, rate) for one in found]
    counted = [floor(own, one.setting, rate) for one in found]
    pairs = list(zip(seconds, counted, strict=True))
    rows = {
        "all, nothing shared, s": [f"{one.total():.2f}" for one in seconds],
        "floor by the targets' figures, s": [f"{low:.2f}" for low in least],
        "floor by operations counted, s": [f"{low:.2f}" for low in counted],
        "text-to-image, share of the peak": [f"{low / one.painting:.0%}" for one, low in pairs],
        "everything but text-to-image": [f"{_rest(one):.1%}" for one in seconds],
        "images per batch": [_batches(one) for one in found],
    }
    head = [f"| a neuron | {' | '.join(one.setting.name for one in found)} |", "|---|---:|---:|"]
    return head + [f"| {name} | {' | '.join(shown)} |" for name, shown in rows.items()]


def _rest(seconds: Seconds) -> float:
    """Share of the time that is not text-to-image."""
    return 1 - seconds.painting / seconds.total()


def _curve(seconds: list[Seconds]) -> list[str]:
    lines = [
        "| neurons of the study | pictures painted | paper: text-to-image, s a neuron | paper: all "
        "| few-step: text-to-image | few-step: all |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for points in zip(*map(curve, seconds), strict=True):
        n, share, _ = points[0]
        shown = [
            f"{share * one.painting:.2f} | {cost:.2f}"
            for one, (*_, cost) in zip(seconds, points, strict=True)
        ]
        lines.append(f"| {n:,} | {share:.1%} | {' | '.join(shown)} |")
    return lines


def _verdict(verdict: list[Target]) -> list[str]:
    return ["| target | found | wanted | |", "|---|---|---|---|"] + [
        f"| {one.name} | {one.found} | {one.wanted} | {'met' if one.met else 'MISSED'} |"
        for one in verdict
    ]


def _batches(found: Measured) -> str:
    return ", ".join(f"{role} {size}" for role, size in found.batches.items())


def put(file: Path, section: str) -> None:
    """Replace what stands between the marks of a document.

    Raises:
        ValueError: when the document has no such marks.
    """
    text = file.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{file} lacks the marks {BEGIN} and {END}; put them in, once each")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    file.write_text(f"{head}{BEGIN}\n{section}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
