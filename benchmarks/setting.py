"""The small study that reliability is measured on: three colours, two units, tiny checkpoints."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnd_assets.engine import verify
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.context_builder import build_context
from dnd_assets.study.study import parse_study
from tests import studies
from tests.resources import tiny

UNITS = ("net/colours/0-1",)
Table = dict[str, Any]
Products = list[dict[str, Any]]


@dataclass(frozen=True)
class Figure:
    """One line of the report.

    Attributes:
        name: what was measured.
        found: what came out.
        target: what it has to be.
        good: whether it is.
    """

    name: str
    found: str
    target: str
    good: bool


@contextmanager
def setting() -> Iterator[tuple[Table, Path]]:
    """The study's table, whose paths are absolute, and an empty folder to work in."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="dnd-reliability-") as name:
        folder = Path(name)
        models = folder / "models"
        models.mkdir()
        table = studies.table(
            tiny.blip(models / "blip", seed=22),
            tiny.clip(models / "clip"),
            tiny.stable_diffusion(models / "painter"),
        )
        studies.write_images(folder / "images")
        yield studies.changed(table, probing_set__folders=[str(folder / "images")]), folder


def context(table: Table, folder: Path) -> StudyContext:
    """The study's context of a study whose state lies in `folder/state`."""
    return build_context(parse_study(table, folder), folder / "state")


def products(table: Table, folder: Path) -> Products:
    """Every product ever announced, once, with the hash of its content."""
    sql = (
        "SELECT DISTINCT asset, unit, key, data_version FROM materializations "
        "WHERE asset <> 'probing_set' ORDER BY ALL"
    )
    return context(table, folder).lineage.query(sql)


def damage(table: Table, folder: Path) -> list[str]:
    """What `dnd verify` finds wrong."""
    report = verify.verify(context(table, folder))
    return [*report.changed, *report.missing, *report.segments]
