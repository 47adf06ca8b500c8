"""A whole study on pictures inside shards and tables gives what it gives on a folder."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnd_assets.assets.probing_set import PROBING_IMAGES, observe
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.plan import plan
from dnd_assets.engine.verify import verify
from dnd_assets.errors import StudyError
from dnd_assets.files.image_folders import listing
from dnd_assets.report.build import build_report
from dnd_assets.study.image_classes import class_table
from dnd_assets.study.study import parse_study
from tests import studies
from tests.files.containers import STRUCT, shard
from tests.files.rasters import dicom, geotiff, png16, ramp


def homes(images, folder, kind):
    """The pictures of a folder in another home, in two parts."""
    files = sorted(images.glob("*.png"))
    parts = [files[:9], files[9:]]
    for number, part in enumerate(parts):
        if kind == "tar":
            members = [(path.name, path.read_bytes()) for path in part]
            shard(folder / f"{number}.tar", members)
            continue
        rows = [{"bytes": path.read_bytes(), "path": path.name} for path in part]
        folder.mkdir(parents=True, exist_ok=True)
        labels = pa.array([int(path.stem) % 3 for path in part])
        held = pa.table({"image": pa.array(rows, STRUCT), "label": labels})
        pq.write_table(held, folder / f"{number}.parquet", row_group_size=4)


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_nothing_is_computed_again_when_pictures_move_into_another_home(
    colours, labelled, tmp_path, kind
):
    folder, first = labelled
    homes(folder / "images", tmp_path / "sets", kind)
    shutil.copytree(folder / "state", tmp_path / "state")
    table = studies.changed(colours, probing_set__folders=["sets"])
    found = studies.label(table, tmp_path, run="moved")

    assert all(one.record.reused for one in found.values())
    assert {k: one.product.data_version for k, one in found.items()} == {
        k: one.product.data_version for k, one in first.items()
    }


def test_a_study_on_shards_from_nothing(colours, labelled, tmp_path):
    folder, first = labelled
    homes(folder / "images", tmp_path / "sets", "tar")
    table = studies.changed(colours, probing_set__folders=["sets"])
    found = studies.label(table, tmp_path)
    context = build_context(parse_study(table, tmp_path), tmp_path / "state")

    versions = {k: one.product.data_version for k, one in found.items()}
    assert versions == {k: one.product.data_version for k, one in first.items()}
    assert verify(context).clean
    build_report(context, tmp_path / "atlas", log=lambda _: None)
    assert list((tmp_path / "atlas" / "pictures").iterdir())
    # One more shard: what it adds is computed, and the crops of pictures that were there are not.
    shard(tmp_path / "sets" / "2.tar", [("x.png", png16(ramp(1, 32, 32, most=65535)))])
    stages = stages_of(context.study)
    (before,) = plan(
        context, stages, list(find_units(context).values()), ["activations"], observe(context)
    )
    assert before.compute == len(find_units(context))
    assert before.cost == {"forward passes": 1}


def test_members_of_every_kind_are_read_as_files_are(tmp_path):
    values = ramp(1, 32, 32)[0]
    files = {
        "a.dcm": dicom(values), "b.png": png16(ramp(1, 32, 32, most=65535)),
        "c.tif": geotiff(np.stack([values.astype(np.uint16)] * 4)),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / "plain").mkdir(exist_ok=True)
        (tmp_path / "plain" / name).write_bytes(data)
    shard(tmp_path / "sets" / "s.tar", list(files.items()))
    told = {}
    for name in ("plain", "sets"):
        models = [{"name": "n", "source": "timm:x", "layers": [{"path": "fc"}]}]
        table = {"name": "m", "models": models, "probing_set": {"folders": [name]}}
        context = build_context(parse_study(table, tmp_path), tmp_path / f"state-{name}")
        manifest = PROBING_IMAGES.scan(context)
        told[name] = (manifest.images, manifest.told())
        assert len(manifest.images) == 3
    assert told["plain"] == told["sets"]


def test_labels_of_the_set_are_the_classes_of_its_pictures(labelled, tmp_path):
    homes(labelled[0] / "images", tmp_path / "sets", "parquet")
    models = [{"name": "n", "source": "timm:x", "layers": [{"path": "fc"}]}]
    table = {"name": "m", "models": models, "probing_set": {"folders": ["sets"]}}
    found = class_table(parse_study(table, tmp_path), "labels", tmp_path / "home")

    assert len(found) == 18
    with pytest.raises(StudyError, match="lies in no folder that names a class"):
        class_table(parse_study(table, tmp_path), "folders", tmp_path / "home")
    members = [("cats/0.png", b"x"), ("dogs/0.png", b"y")]
    shard(tmp_path / "apart" / "0.tar", members)
    table["probing_set"]["folders"] = ["apart"]
    apart = class_table(parse_study(table, tmp_path), "folders", tmp_path / "home")
    assert set(apart.values()) == {"cats", "dogs"}
    assert found[(tmp_path / "sets/0.parquet/image/4").as_posix()] == "1"
    assert len(listing(tmp_path / "sets").files) == 18
