"""What the web server calls stale after an edit of the study and a reload, beside the plan's word.

The server is asked by its own API, as the pages of the interface ask it.
"""

import tomllib
from pathlib import Path

from benchmarks.kills import UNITS, free_port
from benchmarks.setting import Figure, Table
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.plan import plan
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.preflight import observe
from tests import commands, light, studies
from tests.command_line import toml
from tests.processes import command

EDITS: tuple[dict[str, object], ...] = (
    {},
    {"dissection__exemplars": 4},
    {"dissection__scoring": "mean_rank"},
    {"dissection__crop_size": 24},
    {"dissection__images_per_concept": 2},
    {"compute__batch__clip": 2},
)
"""Changes of the study, each of them alone; the first and the last one change no result."""
_RELOAD = """mutation($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) {
  __typename
} }"""
_ASKED = """query($keys: [AssetKeyInput!]!, $units: [String!]!) { assetNodes(assetKeys: $keys) {
  assetKey { path } staleStatusByPartition(partitions: $units)
} }"""


def after_edits(table: Table, folder: Path) -> list[Figure]:
    """One line for each edit: the products that the server and the plan call out of date."""
    place = light.project(folder / "project", Path(table["clip"]["model"]))
    before = tomllib.loads((place / "study.toml").read_text(encoding="utf-8"))
    process = command(place, "run")
    process.join(600)
    assert process.exitcode == 0, commands.said(place)
    interface = commands.Interface(place, free_port())
    try:
        assert interface.ready(), commands.said(place)
        return [_figure(interface, before, edit) for edit in EDITS]
    finally:
        commands.stopped(interface.process, 2)


def _figure(interface: commands.Interface, before: Table, edit: dict[str, object]) -> Figure:
    after = studies.changed(before, **edit)
    (interface.folder / "study.toml").write_text(toml(after), encoding="utf-8")
    certain, possible = _planned(after, interface.folder)
    found = _stale(interface, sorted(stages_of(parse_study(after, interface.folder))))
    name = ", ".join(f"{key.replace('__', '.')} = {value}" for key, value in edit.items())
    return Figure(
        f"stale after a reload, {name or 'no edit'}",
        " ".join(sorted(found)) or "nothing",
        " ".join(sorted(certain)) or "nothing",
        certain <= found <= certain | possible and bool(found) == bool(certain),
    )


def _planned(table: Table, folder: Path) -> tuple[set[str], set[str]]:
    """The products that the plan would compute, and those that may follow."""
    study = parse_study(table, folder)
    context, stages = build_context(study, folder / "state"), stages_of(study)
    entries = plan(
        context, stages, find_units(context).select(UNITS), list(stages), *observe(context)
    )
    return {one.asset for one in entries if one.compute}, {one.asset for one in entries if one.may}


def _stale(interface: commands.Interface, assets: list[str]) -> set[str]:
    """Products of which the server calls some unit stale, once it has read the study anew."""
    interface.ask(_RELOAD, name=interface.place()["repositoryLocationName"])
    keys = [{"path": [name]} for name in assets]
    nodes = interface.ask(_ASKED, keys=keys, units=list(UNITS))["assetNodes"]
    return {one["assetKey"]["path"][0] for one in nodes if "STALE" in one["staleStatusByPartition"]}
