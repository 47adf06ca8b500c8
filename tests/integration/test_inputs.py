"""Whole studies on pictures of four bands and on DICOM, through every step."""

import copy

import numpy as np
import pytest

from dnd_assets.engine.context_builder import build_context
from dnd_assets.engine.models import assumptions
from dnd_assets.engine.network_inputs import check_inputs
from dnd_assets.errors import StudyError
from dnd_assets.study.band_statistics import measured_bands
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.run import run
from tests import studies
from tests.files.rasters import dicom, geotiff, npy, ramp

SIZE = 32


def scenes(folder, count=12):
    """Tiles of red, green, blue and infrared: in tile i, band i % 4 is bright in a square."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        values = rng.integers(10, 60, (4, SIZE, SIZE), dtype=np.uint8)
        left, top = rng.integers(2, 14, 2)
        values[index % 4, top : top + 12, left : left + 12] = 200 + index
        (folder / f"{index:02d}.tif").write_bytes(geotiff(values))


def x_rays(folder, count=8):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        values = ramp(1, SIZE, SIZE)[0]
        values[4:16, 4 + index : 16 + index] = 4000 - 10 * index
        kind = "MONOCHROME1" if index % 2 else "MONOCHROME2"
        stored = 4095 - values if index % 2 else values
        tags = {"WindowCenter": "2048", "WindowWidth": "4096"}
        (folder / f"{index:02d}.dcm").write_bytes(dicom(stored, kind, **tags))


@pytest.fixture
def table(colours):
    return copy.deepcopy(colours)


def with_input(table, factory, probing=None, **told):
    table = copy.deepcopy(table)
    layer = {"path": "bands"}
    table["models"] = [
        {"name": "net", "source": f"module:tests.band_networks:{factory}", "input": told,
         "layers": [layer]}
    ]  # fmt: skip
    table["probing_set"] |= probing or {}
    return table


def pictures_of(context, found, asset="activations"):
    """Paths of the best picture of each unit."""
    rows = context.lineage.query("SELECT hash, path FROM images")
    paths = {row["hash"]: row["path"][-6:-4] for row in rows}
    return {
        key: [paths[one["image"]] for one in made.product.payload["exemplars"]]
        for (name, key), made in found.items()
        if name == asset
    }


def test_a_study_on_four_bands(table, tmp_path):
    scenes(tmp_path / "images")
    chosen = with_input(table, "four", size=SIZE, missing="zero")
    found = studies.label(chosen, tmp_path)

    context = build_context(parse_study(chosen, tmp_path), tmp_path / "state")
    best = pictures_of(context, found)
    for unit in range(4):
        assert {int(name) % 4 for name in best[f"net/bands/{unit}"][:3]} == {unit}
    assert set(studies.statuses(found).values()) == {"ok"}
    # The crop of a bright square is bright in the infrared, which no rendering shows.
    crops = found["crops", "net/bands/3"].product.payload["crops"]
    assert max(crop["activation"] for crop in crops) > 0.5
    for crop in crops[:2]:
        raster = context.pictures.raster(crop["crop"])
        assert raster.bands == 4
        assert raster.shown is not None
        assert np.array_equal(np.asarray(context.pictures.shown(crop["crop"])), raster.shown)
        assert context.pictures.file(crop["crop"]).startswith(b"\x89PNG")
    plan = studies.label(chosen, tmp_path, run="again")
    for key, one in plan.items():
        assert one.product.key == found[key].product.key


def test_a_study_on_dicom(table, tmp_path):
    x_rays(tmp_path / "images")
    chosen = with_input(table, "one", convention="torchxrayvision", size=SIZE)
    found = studies.label(chosen, tmp_path)
    assert set(studies.statuses(found).values()) == {"ok"}
    context = build_context(parse_study(chosen, tmp_path), tmp_path / "state")
    payload = found["activations", "net/bands/0"].product.payload
    best = payload["exemplars"][0]
    raster = context.pictures.raster(best["image"])
    wanted = ((2 * (raster.values / 4095) - 1) * 1024).mean()
    assert best["activation"] == pytest.approx(wanted, rel=1e-3)


def key_of(table, folder, stage="captions"):
    from dnd_assets.assets.registry import stages_of
    from dnd_assets.units import Unit

    context = build_context(parse_study(table, folder), folder / "state")
    stages = stages_of(context.study)
    unit = Unit("net", "bands", 0)
    return {name: stages[name].weights(context, unit) for name in ("activations", stage)}


def test_a_rendering_is_in_the_keys_of_what_sees_it_and_a_scale_in_the_networks(table, tmp_path):
    scenes(tmp_path / "images")
    usual = key_of(with_input(table, "four", size=SIZE), tmp_path)
    shown = key_of(
        with_input(table, "four", {"rendering": {"bands": [4, 3, 2]}}, size=SIZE), tmp_path
    )
    scaled = key_of(with_input(table, "four", size=SIZE, scale=100.0), tmp_path)
    by_set = key_of(with_input(table, "four", {"scale": 100.0}, size=SIZE), tmp_path)
    assert shown["captions"] != usual["captions"]
    assert scaled["captions"] == usual["captions"]
    assert scaled["activations"] != usual["activations"]
    assert by_set == scaled


def test_values_are_measured_once_over_the_set_whatever_its_order(table, tmp_path):
    for name, shift in (("a", 0), ("b", 1000)):
        (tmp_path / "images").mkdir(exist_ok=True)
        values = np.stack([ramp(1, most=1000)[0] + shift, ramp(1, most=10)[0]])
        (tmp_path / "images" / f"{name}.tif").write_bytes(geotiff(values.astype(np.uint16)))
    chosen = with_input(table, "four", size=SIZE)
    study = parse_study(chosen, tmp_path)
    found = measured_bands(study, tmp_path / "state")
    both = np.concatenate([ramp(1, most=1000).ravel(), ramp(1, most=1000).ravel() + 1000])
    assert found["percentiles"][0] == pytest.approx(np.percentile(both, [2, 98]), abs=30)
    assert found["percentiles"][1][1] == pytest.approx(10, abs=0.5)
    mean, end = found["standard"][0]
    assert mean == pytest.approx(1000, abs=30)
    assert end - mean == pytest.approx(both.std(), rel=0.1)
    assert measured_bands(study, tmp_path / "state") == found
    (tmp_path / "images" / "a.tif").rename(tmp_path / "images" / "z.tif")
    assert measured_bands(study, tmp_path / "other") == found
    context = build_context(
        parse_study(with_input(table, "one", bands=[2], scale="percentiles", size=SIZE), tmp_path),
        tmp_path / "state",
    )
    assert context.targets._spec("net").input["scale"] == [list(p) for p in found["percentiles"]]


def test_what_does_not_fit_is_refused_before_anything_is_computed(table, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.npy").write_bytes(npy(ramp(3, dtype=np.uint8, most=255)))

    def check(chosen, assets=("labels", "scores")):
        check_inputs(build_context(parse_study(chosen, tmp_path), tmp_path / "state"), assets)

    with pytest.raises(
        StudyError, match=r"'net' .*a\.npy: a picture of 3 bands of uint8 has no band 4"
    ):
        check(with_input(table, "four", size=SIZE))
    scenes(tmp_path / "images")
    (tmp_path / "images" / "a.npy").unlink()
    with pytest.raises(StudyError, match=r'of a painted picture: .* missing = "zero"'):
        check(with_input(table, "four", size=SIZE))
    check(with_input(table, "four", size=SIZE), ["activations"])
    check(with_input(table, "four", size=SIZE, missing="grey"))


def test_a_network_of_three_bands_says_which_it_gets(table, tmp_path):
    (tmp_path / "images").mkdir()
    values = np.random.default_rng(0).integers(0, 3000, (13, 20, 20), dtype=np.uint16)
    (tmp_path / "images" / "a.tif").write_bytes(geotiff(values))
    context = build_context(parse_study(table, tmp_path), tmp_path / "state")
    told = dict(assumptions(context))["target: net"]
    assert "a.tif, which is 13 bands of uint16: bands 4, 3, 2" in told


def test_a_study_of_its_own_look_runs_through_dagster_and_has_nothing_to_do_again(table, tmp_path):
    """Dagster builds resources anew from their fields, so nothing may hang on what is no field."""
    scenes(tmp_path / "images")
    shown = {"rendering": {"bands": [4, 3, 2], "range": "minmax"}}
    chosen = with_input(table, "four", shown, size=SIZE, scale="percentiles", missing="grey")
    study, home = parse_study(chosen, tmp_path), tmp_path / "state"
    units = ["net/bands/0"]
    first = run(study, home, units)
    assert {"captions", "crops", "labels"} <= first.computed.keys()
    assert not run(study, home, units).computed


def test_layers_say_what_the_network_is_given(table, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from dnd_assets.cli import app

    scenes(tmp_path / "images", 1)
    monkeypatch.setenv("DND_HOME", str(tmp_path / "home"))
    text = (
        'name = "bands"\n[probing_set]\nfolders = ["images"]\n[[models]]\nname = "net"\n'
        'source = "module:tests.band_networks:four"\nlayers = [{path = "bands"}]\n'
    )
    study = tmp_path / "study.toml"
    study.write_text(text + 'input = {size = 32, missing = "zero"}\n')
    result = CliRunner().invoke(app, ["layers", "net", "--study", str(study)])

    assert result.exit_code == 0, result.output
    told = result.output.replace("\n", " ")
    assert "00.tif (4 bands of uint8: bands 1, 2, 3 shown as they are) it gets its bands" in told
    assert "it gets its bands as 4 x 32 x 32" in told
