"""Finding model files by name, and fingerprints that follow the bytes."""

import os
import shutil
import time

import pytest

from dnd_assets.errors import StudyError
from resources.checkpoints import Checkpoint, local_path, resolve, resolve_file


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "models" / "tiny"
    (made / "vae").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "vocab.txt").write_text("red blue")
    (made / "vae" / "model.safetensors").write_bytes(b"weights")
    (made / "README.md").write_text("words")
    (made / "teaser.png").write_bytes(b"png")
    return made


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hugging Face cache that holds `org/tiny` at `main` and at the tag `v1`."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    for name, commit in (("main", "a" * 40), ("v1", "b" * 40)):
        snapshot = cache / "models--org--tiny" / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text(f'"{name}"')
        (snapshot / "model.safetensors").write_bytes(name.encode())
        refs = cache / "models--org--tiny" / "refs"
        refs.mkdir(exist_ok=True)
        (refs / name).write_text(commit)
    return cache


def test_a_folder_is_found_absolute_and_relative(folder, tmp_path):
    absolute = resolve(str(folder))
    relative = resolve("models/tiny", base=tmp_path)  # reads like a hub id; the folder wins

    assert absolute.folder == relative.folder == folder
    assert absolute.fingerprint() == relative.fingerprint()


def test_a_package_name_is_found():
    assert resolve_file("package:dnd_assets.lineage/schema.sql").is_file()
    assert resolve("package:dnd_assets/studies", needs=("known-answers.toml",)).folder.is_dir()


def test_the_fingerprint_follows_bytes_and_names_not_places(folder, tmp_path):
    before = resolve(str(folder)).fingerprint()
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert Checkpoint(tmp_path / "elsewhere", "other").fingerprint() == before

    (folder / "README.md").write_text("other words")
    (folder / "teaser.png").write_bytes(b"other png")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.json").write_text("{}")
    assert resolve(str(folder)).fingerprint() == before

    weights = folder / "vae" / "model.safetensors"
    times = weights.stat().st_mtime_ns
    weights.write_bytes(b"weighty")  # same length, one byte differs
    os.utime(weights, ns=(times, times + 1))
    changed = resolve(str(folder)).fingerprint()
    assert changed != before

    weights.rename(folder / "vae" / "other.safetensors")
    assert resolve(str(folder)).fingerprint() not in (before, changed)


def test_old_weights_count_where_there_is_nothing_better(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"1")
    before = Checkpoint(tmp_path, "x").fingerprint()

    (tmp_path / "pytorch_model.bin").write_bytes(b"22")

    assert Checkpoint(tmp_path, "x").fingerprint() != before


def test_a_hub_model_is_found_in_the_cache_by_revision(hub):
    main, tag = resolve("org/tiny"), resolve("org/tiny", "v1")

    assert main.revision == "a" * 40
    assert tag.revision == "b" * 40
    assert main.fingerprint() != tag.fingerprint()
    assert resolve("org/tiny", "b" * 40).folder == tag.folder


@pytest.mark.parametrize(
    ("name", "revision", "command"),
    [
        ("org/none", None, "hf download org/none`"),
        ("org/tiny", "v2", "hf download org/tiny --revision v2`"),
    ],
)
def test_a_missing_hub_model_names_the_command_at_once(hub, name, revision, command):
    start = time.perf_counter()
    with pytest.raises(StudyError) as error:
        resolve(name, revision)

    assert time.perf_counter() - start < 1.0
    assert command in str(error.value)
    assert str(hub) in str(error.value)


def test_an_incomplete_hub_model_names_what_is_missing(hub):
    with pytest.raises(StudyError, match=r"missing: \*/\*\.safetensors.*hf download org/tiny"):
        resolve("org/tiny", needs=("config.json", "*/*.safetensors"))


def test_a_missing_folder_names_its_neighbours(folder):
    with pytest.raises(StudyError, match=r"models holds: tiny"):
        resolve(str(folder.parent / "tinny"))
    with pytest.raises(StudyError, match=r"vae holds: model\.safetensors"):
        resolve_file(str(folder / "vae" / "modell.safetensors"))


def test_a_folder_without_the_files_is_refused(folder):
    with pytest.raises(StudyError, match=r"lacks model_index\.json.*holds config\.json"):
        resolve(str(folder), needs=("model_index.json",))


def test_an_unknown_package_is_named():
    with pytest.raises(StudyError, match="no installed package 'no_such_package'"):
        resolve("package:no_such_package/models")


def test_only_plain_two_part_names_may_be_hub_ids(tmp_path):
    assert local_path("org/name", tmp_path) is None
    for name in ("a/b/c", "../x", "~/x", "x", "/a/b", "./x/y", "w/x.safetensors"):
        assert local_path(name, tmp_path) is not None
