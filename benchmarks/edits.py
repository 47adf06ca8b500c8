"""Random single edits of a study, each checked against a run from nothing.

The oracle is the same study computed in an empty state folder. After an edit and a rerun every
product must equal the oracle's (nothing stale), a product may only have been computed when its key
was not in the store before (nothing needless), and every caption, painting, crop and row of vectors
that was computed must be one that the oracle needed and that was not there before.
"""

import copy
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from benchmarks.setting import Figure, Table, context
from dnd_assets.assets.registry import STAGES
from dnd_assets.engine.cache.vectors import Vectors
from dnd_assets.engine.stage import Stage
from tests import studies

Items = set[tuple[str, str, str]]
ROW_KINDS = ("activations", "embeddings")
PARAMETERS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "dissection__exemplars": ("activations", (4, 5, 6)),
    "dissection__crops_per_image": ("crops", (2, 3, 4)),
    "dissection__crop_overlap": ("crops", (0.3, 0.4, 0.5)),
    "dissection__crop_size": ("crops", (24, 32, 40)),
    "dissection__crop": ("crops", (True, False)),
    "captioner__max_new_tokens": ("captions", (6, 7, 8)),
    "dissection__candidates": ("candidate_concepts", (1, 2, 3)),
    "dissection__images_per_concept": ("synthetic_images", (2, 3, 4)),
    "text_to_image__steps": ("synthetic_images", (1, 2)),
    "dissection__beta": ("scores", (2, 3, 5)),
    "dissection__top_images": ("scores", (3, 5, 10)),
    "dissection__scoring": ("scores", ("mean_rank", "topk_squared", "image_products")),
    "dissection__labels": ("labels", (1, 2, 3)),
    "dissection__select": ("labels", ("scores", "first")),
}
"""Settings with the first product that each may change, and values to choose from."""
Edited = tuple[str, str]
"""What was edited, and the first product that it may change; none where it may change nothing."""


WEIGHTS = {"captioner": "captions", "clip": "scores", "painter": "synthetic_images"}
"""Checkpoints with the first product that each may change."""


@dataclass
class Project:
    """A study that is edited again and again.

    Attributes:
        table: the study.
        folder: its state folder and images.
        units: which units a run asks for.
        codes: code versions given to stages in place of their own.
    """

    table: Table
    folder: Path
    units: list[str]
    codes: dict[str, str]

    def run(self, folder: Path, run: str) -> dict[tuple[str, str], Any]:
        """Label in a state folder, with the code versions of the moment."""
        code = Stage.code

        def version(stage: Stage) -> str:
            return self.codes.get(stage.name) or code(stage)

        with patch.object(Stage, "code", version):
            return studies.label(self.table, self.folder, self.units, folder / "state", run)


def pixel(project: Project, dice: random.Random) -> Edited:
    """One pixel of one image."""
    path = _any_image(project, dice)
    with Image.open(path) as image:
        pixels = np.array(image)
    x, y, channel = dice.randrange(32), dice.randrange(32), dice.randrange(3)
    pixels[y, x, channel] ^= dice.choice([1, 64, 255])
    Image.fromarray(pixels).save(path)
    return f"pixel of {path.name}", "activations"


def file_name(project: Project, dice: random.Random) -> Edited:
    """One file gets another name."""
    path = _any_image(project, dice)
    path.rename(path.with_name(f"{dice.randrange(10**9)}.png"))
    return f"name of {path.name}", ""


def file_order(project: Project, dice: random.Random) -> Edited:
    """All files change places in a listing, and their times."""
    paths = _images(project)
    names = [f"{dice.randrange(10**9):09d}.png" for _ in paths]
    for path, name in zip(paths, names, strict=True):
        path.rename(path.with_name(name))
    return "order of all files", ""


def one_more(project: Project, dice: random.Random) -> Edited:
    """One more image."""
    place = project.folder / "made"
    studies.write_images(place, 3, seed=dice.randrange(10**9))
    new = dice.choice(sorted(place.glob("*.png")))
    new.rename(project.folder / "images" / f"{dice.randrange(10**9)}.png")
    shutil.rmtree(place)
    return "an image added", "activations"


def one_less(project: Project, dice: random.Random) -> Edited:
    """One image fewer."""
    if len(_images(project)) < 12:
        return one_more(project, dice)
    _any_image(project, dice).unlink()
    return "an image removed", "activations"


def parameter(project: Project, dice: random.Random) -> Edited:
    """One setting of one stage."""
    name = dice.choice(sorted(PARAMETERS))
    section, key = name.split("__")
    first, values = PARAMETERS[name]
    value = dice.choice([one for one in values if one != project.table[section].get(key)])
    project.table[section][key] = value
    return f"{name} = {value}", first


def prompt(project: Project, dice: random.Random) -> Edited:
    """One character of the painting prompt."""
    text = project.table["text_to_image"].get("prompt", "One realistic image of {concept}")
    at = dice.randrange(text.index("{"))
    changed = text[:at] + dice.choice("abcxyz ") + text[at + 1 :]
    project.table["text_to_image"]["prompt"] = changed
    return f"prompt {changed!r}", "synthetic_images"


def weight_byte(project: Project, dice: random.Random) -> Edited:
    """One byte of one weight file."""
    files = sorted((project.folder / "models").rglob("*.safetensors"))
    file = dice.choice(files)
    data = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    # The lowest byte of a float32: another number for certain, never NaN.
    place = header + 4 * dice.randrange((len(data) - header) // 4)
    data[place] ^= 1 << dice.randrange(8)
    file.unlink()
    file.write_bytes(bytes(data))
    name = file.relative_to(project.folder / "models").parts[0]
    return f"weight byte {place} of {name}", WEIGHTS[name]


def seed(project: Project, dice: random.Random) -> Edited:
    """The base seed."""
    project.table["dissection"]["seed"] = dice.randrange(10**6)
    return "seed", "candidate_concepts"


def code(project: Project, dice: random.Random) -> Edited:
    """The code version of one stage."""
    name = dice.choice(list(STAGES))
    project.codes[name] = f"{dice.randrange(16**12):012x}"
    return f"code of {name}", name


def selection(project: Project, dice: random.Random) -> Edited:
    """Which units are asked for."""
    everything = [f"net/{layer}/{n}" for layer in ("colours", "spoilt") for n in range(4)]
    project.units = sorted(dice.sample(everything, dice.randint(1, 8)))
    return f"units {project.units}", ""


EDITS: tuple[Callable[[Project, random.Random], Edited], ...] = (
    pixel, file_name, file_order, one_more, one_less, parameter, parameter, prompt, weight_byte,
    seed, code, selection,
)  # fmt: skip


def random_edits(table: Table, folder: Path, times: int = 100) -> list[Figure]:
    """Edit, rerun, compare with a run from nothing; so many times."""
    project = _project(table, folder)
    before = {unit for _, unit in project.run(folder / "kept", "first")}
    dice = random.Random(0)  # noqa: S311 (trials, not secrets)
    stale = needless = work = 0
    for number in range(times):
        what, first = EDITS[number % len(EDITS)](project, dice)
        known = _keys(project, folder / "kept"), _items(project, folder / "kept")
        found = project.run(folder / "kept", f"edit {number}")
        shutil.rmtree(folder / "oracle", ignore_errors=True)
        truth = project.run(folder / "oracle", "oracle")
        wrong = studies.versions(found) != studies.versions(truth)
        spare = _needless(found, truth, known[0]) + _unrelated(found, first, before)
        extra = _extra(project, folder, known[1], f"edit {number}")
        before = {unit for _, unit in found}
        if wrong or spare or extra:
            found_wrong = f"stale {wrong}, needless {spare}, work {extra}"
            sys.stderr.write(f"edit {number} ({what}): {found_wrong}\n")
        stale, needless, work = stale + wrong, needless + len(spare), work + len(extra)
    name = f"{times} random single edits"
    return [
        Figure(f"{name}: stale results", str(stale), "0", stale == 0),
        Figure(f"{name}: needless products", str(needless), "0", needless == 0),
        Figure(f"{name}: needless captions, pictures, crops, passes", str(work), "0", work == 0),
    ]


def _project(table: Table, folder: Path) -> Project:
    """Images and checkpoints of its own, to be edited."""
    table = copy.deepcopy(table)
    places = {"captioner": ("captioner", "checkpoint"), "clip": ("clip", "model"),
              "painter": ("text_to_image", "checkpoint")}  # fmt: skip
    for name, (section, key) in places.items():
        shutil.copytree(table[section][key], folder / "models" / name)
        table[section][key] = str(folder / "models" / name)
    table["probing_set"]["folders"] = ["images"]
    studies.write_images(folder / "images")
    return Project(table, folder, [], {})


def _images(project: Project) -> list[Path]:
    return sorted((project.folder / "images").glob("*.png"))


def _any_image(project: Project, dice: random.Random) -> Path:
    return dice.choice(_images(project))


def _keys(project: Project, place: Path) -> set[str]:
    return {
        row["key"]
        for row in context(project.table, place).lineage.query("SELECT key FROM products")
    }


def _items(project: Project, place: Path) -> Items:
    """Every caption, painting, crop and row of vectors that is stored."""
    table = context(project.table, place)
    found: Items = set()
    for row in table.lineage.query("SELECT kind, provider, item FROM shared"):
        if row["kind"] in ROW_KINDS:
            for block, _ in Vectors(table.lineage, table.store)._blocks(
                row["kind"], row["provider"]
            ):
                found |= {(row["kind"], row["provider"], one.tobytes().hex()) for one in block}
        else:
            found.add((row["kind"], row["provider"], row["item"]))
    return found


def _needless(
    found: dict[tuple[str, str], Any], truth: dict[tuple[str, str], Any], before: set[str]
) -> list[tuple[str, str]]:
    """Products that were computed although what they come to was in the store."""
    computed = studies.computed(found)
    return sorted(pair for pair in computed if truth[pair].product.key in before)


def _unrelated(
    found: dict[tuple[str, str], Any], first: str, before: set[str]
) -> list[tuple[str, str]]:
    """Products computed of units that were up to date, which the edit cannot have changed."""
    touched = {first}
    for name, stage in STAGES.items():
        if touched & set(stage.upstream):
            touched.add(name)
    computed = studies.computed(found)
    return sorted(pair for pair in computed if pair[0] not in touched and pair[1] in before)


def _extra(project: Project, folder: Path, before: Items, run: str) -> list[str]:
    """Work that the oracle did not need, or that was done twice."""
    new = _items(project, folder / "kept") - before
    needed = _items(project, folder / "oracle")
    extra = [f"{kind} {item[:40]}" for kind, _, item in new - needed]
    counted = context(project.table, folder / "kept").lineage.query(
        "SELECT what, sum(count)::BIGINT AS n FROM work WHERE run = ? GROUP BY what", [run]
    )
    done = {row["what"]: row["n"] for row in counted}
    for what, kind in (("captions", "caption"), ("paintings", "painting"), ("embeddings",) * 2):
        made = sum(one[0] == kind for one in new)
        if done.get(what, 0) != made:
            extra.append(f"{done.get(what, 0)} {what} for {made} results")
    return extra
