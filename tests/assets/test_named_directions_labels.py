"""Directions named by the texts that point the same way."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from dnd_assets.errors import StudyError
from dnd_assets.methods.nearest_texts import best, cosines
from dnd_assets.study.study import parse_study
from tests.studies import changed, label_alone, write_images

LABELS = "named_directions_labels"
TEXTS = np.array([[1, 0, 0, 0], [0, 2, 0, 0], [0, 3, 3, 0]], np.float32)


def test_cosines_by_hand():
    found = cosines(np.array([[0, 5, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 0]]), TEXTS)
    np.testing.assert_allclose(found[:2], [[0, 1, 0.5**0.5], [-1, 0, 0]], atol=1e-12)
    assert np.isnan(found[2]).all()
    assert best(np.array([0.5, 0.7, 0.7]), 2) == [1, 2]


def study(colours, folder, source, directions, **section):
    held = np.ascontiguousarray(directions)
    save_file({"directions": held}, folder / "directions.safetensors")
    layer = {"path": "joint", "directions": {"path": "directions.safetensors", "columns": False}}
    table = changed(colours, named_directions=section)
    table["models"] = [{"name": "net", "source": source, "layers": [layer]}]
    write_images(folder / "images", 3)
    return parse_study(table, folder)


def named(colours, folder, source, directions, units=(), **section):
    found = study(colours, folder, source, directions, **section)
    _, made = label_alone(found, folder / "state", LABELS, units)
    return {one.unit.neuron: one.product.outcome for one in made.values()}


def test_directions_are_named_by_the_nearest_text(colours, tmp_path):
    (tmp_path / "words.txt").write_text("left\nup\nboth\n")
    np.save(tmp_path / "texts.npy", TEXTS)
    rows = np.array([[0, 1, 0.9, 0], [1, 0, 0, 5], [0, 0, 0, 0], [0, 9, 0, 0]], np.float32)
    found = named(colours, tmp_path, "module:tests.networks:space_4", rows, concepts="words.txt",
                  vectors="texts.npy", top=2)  # fmt: skip

    assert [found[n].payload.get("label") for n in range(4)] == ["both", "left", None, "up"]
    assert found[2].status == "dead"
    assert [one["label"] for one in found[0].payload["labels"]] == ["both", "up"]
    assert found[3].payload["score"] == pytest.approx(1)


def test_every_class_of_a_published_space_is_named_by_itself(colours, shared_dir, tmp_path):
    """Two pairs of classes have the very same vector, so that nothing can tell them apart."""
    vectors = np.load(shared_dir / "published" / "clip_text_imagenet_512x1000.npy")
    classes = (shared_dir / "published" / "imagenet_classes.txt").read_text().splitlines()
    (tmp_path / "classes.txt").write_text("\n".join(classes))
    np.save(tmp_path / "texts.npy", vectors)
    found = named(colours, tmp_path, "module:tests.networks:space_512", vectors.T,
                  concepts="classes.txt", vectors="texts.npy")  # fmt: skip

    assert len(found) == 1000
    for k, outcome in found.items():
        twins = np.flatnonzero((vectors == vectors[:, k : k + 1]).all(axis=0))
        equal = [one["label"] for one in outcome.payload["labels"][: len(twins)]]
        assert outcome.payload["label"] == classes[twins[0]]
        assert classes[k] in equal
    assert sum(found[k].payload["label"] == classes[k] for k in found) == 998


def test_without_vectors_the_encoder_of_the_study_embeds_the_concepts(colours, tmp_path):
    from dnd_assets.engine.cache.shared_results import text_embeddings
    from dnd_assets.engine.context_builder import build_context

    words = ["red", "green", "a circle"]
    (tmp_path / "words.txt").write_text("\n".join(words))
    plain = study(colours, tmp_path, "module:tests.networks:space_4", TEXTS, concepts="words.txt")
    vectors = text_embeddings(build_context(plain, tmp_path / "other"), words)
    source = f"module:tests.networks:space_{vectors.shape[1]}"
    if vectors.shape[1] not in (4, 512):
        source = "module:tests.networks:space_4"
        with pytest.raises(StudyError, match="numbers"):
            named(colours, tmp_path, source, TEXTS, concepts="words.txt")
        return
    found = named(colours, tmp_path, source, vectors * 3, concepts="words.txt")
    assert [found[n].payload["label"] for n in range(3)] == words


@pytest.mark.parametrize(
    ("held", "words", "told"),
    [
        (np.ones((2, 4), np.float32), "a\nb\nc\n", "row or a column"),
        (np.eye(4, dtype=np.float32), "a\nb\nc\nd\n", "square"),
        (np.zeros((3, 4), np.float32), "a\nb\nc\n", "other than zero"),
        (TEXTS, "a\nb\n\nc\n", "blank"),
    ],
)
def test_vectors_that_are_not_those_of_the_concepts(held, words, told, colours, tmp_path):
    (tmp_path / "words.txt").write_text(words)
    np.save(tmp_path / "texts.npy", held)
    with pytest.raises(StudyError, match=told):
        named(colours, tmp_path, "module:tests.networks:space_4", TEXTS, concepts="words.txt",
              vectors="texts.npy")  # fmt: skip


def test_pickled_vectors_are_refused(colours, tmp_path):
    (tmp_path / "words.txt").write_text("a\nb\nc\n")
    np.save(tmp_path / "texts.npy", np.array([{}, {}, {}], dtype=object))
    with pytest.raises(StudyError, match="no sound"):
        named(colours, tmp_path, "module:tests.networks:space_4", TEXTS, concepts="words.txt",
              vectors="texts.npy")  # fmt: skip
