"""Vectors: rows by picture content, kept in blocks, found again whatever the order."""

import numpy as np
import pytest

from dnd_assets.engine.cache.vectors import Vectors
from dnd_assets.files.atomic import sha256
from dnd_assets.methods.sparse_matrix import SparseMatrix
from resources.artefact_store import ArtefactStore
from resources.lineage_db.database import Lineage

IDS = [sha256(bytes([n])) for n in range(12)]
VALUES = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)


@pytest.fixture
def vectors(tmp_path):
    return opened(tmp_path)


def opened(folder):
    lineage = Lineage(root=str(folder / "state"))
    return Vectors(lineage, ArtefactStore(root=str(folder / "store")))


def test_nothing_is_known_of_an_empty_store(vectors):
    values, known = vectors.read("activations", "p", IDS)

    assert values.shape == (12, 0)
    assert values.dtype == np.float32
    assert not known.any()


def test_rows_come_back_bit_for_bit_in_the_order_asked(vectors):
    vectors.add("activations", "p", IDS[:7], VALUES[:7])
    order = [6, 0, 9, 3, 0]
    values, known = vectors.read("activations", "p", [IDS[n] for n in order])

    assert known.tolist() == [True, True, False, True, True]
    expected = VALUES[order] * known[:, None]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, expected)


def test_blocks_join_and_outlive_the_process(tmp_path):
    opened(tmp_path).add("activations", "p", IDS[:4], VALUES[:4])
    opened(tmp_path).add("activations", "p", IDS[4:9], VALUES[4:9])
    values, known = opened(tmp_path).read("activations", "p", IDS)

    assert known.tolist() == [True] * 9 + [False] * 3
    np.testing.assert_array_equal(values[:9], VALUES[:9])
    np.testing.assert_array_equal(values[9:], 0)


def test_kinds_and_providers_are_apart(vectors):
    vectors.add("activations", "p", IDS[:1], VALUES[:1])
    vectors.add("activations", "q", IDS[:1], VALUES[1:2])
    vectors.add("embedding", "p", IDS[:1], VALUES[2:3, :3])

    for kind, provider, row in [
        ("activations", "p", VALUES[:1]),
        ("activations", "q", VALUES[1:2]),
        ("embedding", "p", VALUES[2:3, :3]),
    ]:
        np.testing.assert_array_equal(vectors.read(kind, provider, IDS[:1])[0], row)
    assert not vectors.read("embedding", "q", IDS)[1].any()


def test_values_that_are_no_numbers_come_back_as_they_are(vectors):
    odd = np.array([[np.nan, np.inf, -np.inf, -0.0, 1e-45]], np.float32)
    vectors.add("activations", "p", IDS[:1], odd)

    found = vectors.read("activations", "p", IDS[:1])[0]
    assert found.tobytes() == odd.tobytes()


def test_adding_nothing_leaves_no_trace(vectors):
    vectors.add("activations", "p", [], np.zeros((0, 5), np.float32))

    assert vectors.lineage.shared_items("activations", "p") == {}
    assert vectors.read("activations", "p", [])[0].shape == (0, 0)


def test_one_block_is_one_file_and_recorded(vectors):
    vectors.add("activations", "p", IDS, VALUES)
    vectors.add("activations", "p", IDS, VALUES)

    ((file, value),) = vectors.lineage.shared_items("activations", "p").items()
    assert value == {"rows": 12}
    (row,) = vectors.lineage.query("SELECT * FROM artefacts")
    assert row["file"] == file
    assert row["kind"] == "activations"
    assert row["bytes"] == vectors.store.path(file).stat().st_size
    assert row["hash"] == sha256(vectors.store.path(file).read_bytes())


@pytest.mark.parametrize("harm", ["removed", "changed", "emptied"])
def test_a_lost_block_is_unknown_and_heals_when_computed_anew(tmp_path, harm):
    vectors = opened(tmp_path)
    vectors.add("activations", "p", IDS[:4], VALUES[:4])
    vectors.add("activations", "p", IDS[4:8], VALUES[4:8])
    lost = vectors.store.path(min(vectors.lineage.shared_items("activations", "p")))
    data = lost.read_bytes()
    if harm == "removed":
        lost.unlink()
    else:
        lost.write_bytes(b"" if harm == "emptied" else data[:-1] + bytes([data[-1] ^ 1]))

    fresh = opened(tmp_path)
    values, known = fresh.read("activations", "p", IDS[:8])
    assert known.sum() == 4
    np.testing.assert_array_equal(values[known], VALUES[:8][known])
    for part in (slice(4), slice(4, 8)):
        fresh.add("activations", "p", IDS[part], VALUES[part])
    values, known = opened(tmp_path).read("activations", "p", IDS[:8])
    assert known.all()
    np.testing.assert_array_equal(values, VALUES[:8])


def test_a_table_knows_what_is_missing_and_takes_it_in(vectors):
    known, new = ("a" * 64, "b" * 64), "c" * 64
    vectors.add("k", "p", known, np.array([[1, 2], [3, 4]], dtype=np.float32))
    table = vectors.table("k", "p", [known[1], new])
    assert table.missing() == {new}
    table.fill([new], np.array([[5, 6]], dtype=np.float32))
    assert table.missing() == set()
    assert table.values[table.rows[new]].tolist() == [5, 6]
    assert table.values[table.rows[known[1]]].tolist() == [3, 4]
    empty = vectors.table("k", "nobody", [new])
    empty.fill([new], np.array([[7, 8, 9]], dtype=np.float32))
    assert empty.values.tolist() == [[7, 8, 9]]


# --- codes of autoencoders, which are mostly zero


def codes(pictures, latents, fires, seed=0):
    """Codes of which `fires` of each picture are not zero."""
    r = np.random.default_rng(seed)
    values = np.zeros((pictures, latents), np.float32)
    for row in values:
        row[r.choice(latents, fires, replace=False)] = r.uniform(0.1, 9, fires)
    return values


@pytest.mark.parametrize("fires", [32, 200])
def test_codes_take_less_than_a_fiftieth_of_a_table(vectors, fires):
    values = codes(64, 49_152, fires)
    names = [sha256(bytes([7, n])) for n in range(64)]
    for start in range(0, 64, 16):  # streamed: a block at a time
        part = slice(start, start + 16)
        vectors.add("activations", "p", names[part], SparseMatrix.of_dense(values[part]))
    files = vectors.lineage.shared_items("activations", "p")
    size = sum(vectors.store.path(file).stat().st_size for file in files)

    assert len(files) == 4
    assert size < 0.02 * values.nbytes
    table = vectors.sparse_table("activations", "p", list(reversed(names)))
    assert table.found.all()
    np.testing.assert_array_equal(table.values.dense(), values[::-1])


def test_a_sparse_table_is_filled_in_any_order_and_knows_what_lacks(vectors):
    values = codes(12, 40, 3)
    vectors.add("activations", "p", IDS[3:7], SparseMatrix.of_dense(values[3:7]))
    vectors.add("activations", "p", IDS[5:8], SparseMatrix.of_dense(values[5:8]))
    table = vectors.sparse_table("activations", "p", IDS)

    assert table.missing() == {*IDS[:3], *IDS[8:]}
    assert vectors.unknown("activations", "p", IDS) == table.missing()
    np.testing.assert_array_equal(table.values.dense()[3:8], values[3:8])
    assert not table.values.dense()[:3].any()
    table.fill(IDS[8:], values[8:])
    table.fill(IDS[:3], SparseMatrix.of_dense(values[:3]))
    np.testing.assert_array_equal(table.values.dense(), values)
    full, known = vectors.read("activations", "p", IDS)
    assert known.tolist() == [False] * 3 + [True] * 5 + [False] * 4
    np.testing.assert_array_equal(full[3:8], values[3:8])


def test_a_sparse_table_of_which_nothing_is_known(vectors):
    table = vectors.sparse_table("activations", "p", IDS)
    assert table.values.shape == (12, 0)
    assert table.missing() == set(IDS)
