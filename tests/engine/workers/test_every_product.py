"""Products from masks, ablations and metrics by workers that lose parts: those of one process."""

from dataclasses import replace

import pytest

from dnd_assets.assets import ablation_parts, compositions_labels
from dnd_assets.assets.registry import stages_of
from dnd_assets.assets.segmentation import map_parts
from dnd_assets.engine.cache import unstored_vectors
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.plan import plan
from dnd_assets.engine.resolve import Graph
from dnd_assets.engine.stage import study_assets_of
from dnd_assets.engine.workers.pools import Workers
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.run import observe
from tests.engine.workers.test_handing_out import Losing
from tests.engine.workers.whole_state import state
from tests.integration.test_segmentation import AUC, FORMULA, NET, write_case
from tests.studies import changed, write_images

METRICS = f"{NET}_metrics"
ASSETS = ["milan_labels", NET, FORMULA, AUC, "ablation_effects", "group_ablation_effects", METRICS]


class LosingWorkers(Workers):
    """Parts are done in this process as workers do them; one in three is lost the first time."""

    def _new_executor(self):
        return Losing(RuntimeError("the node vanished"))


@pytest.fixture(scope="module")
def table(colours, sentences_folder):
    """The small study with all the sections that bring products without pictures of concepts."""
    model = {
        "name": "net",
        "source": "module:tests.classifiers:colour_classifier",
        "layers": [{"path": "colours"}],
    }
    return changed(
        colours,
        models=[model],
        milan={"exemplars": 3, "candidates": 2},
        segmentation={
            "table": {"file": "table.csv", "images": "images", "masks": "masks"}, "share": 0.05
        },
        ablation={
            "how": "mean", "classes": "classes.csv", "random_groups": 1,
            "groups": {"leaf": ["net/colours/1"]},
        },
        evaluation={
            "folders": ["held"], "images_per_label": 2, "methods": ["network_dissection_labels"],
            "truths": "truths.csv", "sentence_encoder": str(sentences_folder),
        },
        compute__batch__target=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    """The study's files, and its products by one process in `alone`."""
    folder = tmp_path_factory.mktemp("every")
    write_case(folder)
    write_images(folder / "held", 6, seed=7)
    classes = [f"{i}.png,{'red' if i < 4 else 'green'}" for i in range(8)]
    (folder / "classes.csv").write_text("\n".join(["file,class", *classes]) + "\n")
    (folder / "truths.csv").write_text("unit,label\nnet/colours/0,wide\nnet/colours/1,a leaf\n")
    made(table, folder, folder / "alone")
    return folder


def made(table, folder, home, **overrides):
    """Materialize `ASSETS`; the context."""
    context = replace(build_context(parse_study(table, folder), home), **overrides)
    stages = stages_of(context.study)
    for whole in study_assets_of(stages).values():
        whole.materialize(context, "run")
    graph = Graph(context, stages)
    for name in ASSETS:
        list(materialize(graph, stages[name], list(find_units(context).values()), "run"))
    return context


def small_parts(monkeypatch):
    monkeypatch.setattr(map_parts, "IMAGES", 1)
    for module, name in (
        (ablation_parts, "_ABLATED"),
        (ablation_parts, "_PASSED"),
        (compositions_labels, "_UNITS"),
        (unstored_vectors, "_TEXTS"),
    ):
        monkeypatch.setattr(module, name, 3)


def test_products_are_those_of_one_process_however_parts_are_cut_and_lost(
    table, folder, tmp_path, monkeypatch
):
    small_parts(monkeypatch)
    lines: list[str] = []
    workers = LosingWorkers("local:2", folder)
    context = made(table, folder, tmp_path / "state", workers=workers, log=lines.append)
    alone, together = state(table, folder, folder / "alone"), state(table, folder, context.home)
    for what in alone:
        assert together[what] == alone[what], what
    rows = context.lineage.query("SELECT asset, max(lost) AS lost FROM workers GROUP BY asset")
    assert {row["asset"] for row in rows} >= {*ASSETS} - {AUC}, "which finds all made before it"
    assert sum(row["lost"] for row in rows) >= len(ASSETS)
    jobs = ("thresholds_of", "overlaps_of", "region_counts_of", "outputs_without_of")
    for job in jobs:
        assert any(f"parts of {job} were lost by local:2" in line for line in lines), job


def test_a_plan_divides_what_workers_do(table, folder):
    other = {"ablation__how": "zero", "segmentation__share": 0.1, "milan__candidates": 1}
    context = build_context(parse_study(changed(table, **other), folder), folder / "alone")
    stages, units = stages_of(context.study), list(find_units(context).values())
    seconds = {
        number: {
            one.asset: one.most_seconds
            for one in plan(context, stages, units, ASSETS, *observe(context), workers=number)
        }
        for number in (1, 4)
    }
    for asset in {*ASSETS} - {AUC}:
        assert 0 < seconds[4][asset] < seconds[1][asset], asset
