"""The index on a local disk, the journal elsewhere."""

import pytest

from resources.lineage_db.database import Lineage
from resources.lineage_db.reader import LineageReader
from resources.lineage_db.state_places import index_folder
from tests.resources.lineage_db.test_database import everything, fill


def test_without_a_word_the_index_lies_beside_the_journal(tmp_path, monkeypatch):
    monkeypatch.delenv("DND_INDEX", raising=False)
    assert index_folder(tmp_path) == tmp_path


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A state folder on a shared file system, seen from one of its machines."""

    def machine(name):
        monkeypatch.setenv("DND_INDEX", str(tmp_path / name))
        monkeypatch.setenv("DND_CACHE", str(tmp_path / f"cache of {name}"))
        return Lineage(root=str(tmp_path / "shared"))

    return machine


def test_each_machine_has_an_index_of_its_own_and_nothing_of_it_is_shared(shared, tmp_path):
    one = shared("one")
    fill(one)
    one.settle()
    before = everything(one)
    two = shared("two")
    assert everything(two) == before
    assert everything(LineageReader(root=two.root)) == before
    two.commit({"providers": [{"provider": "p", "fingerprint": "{}"}]})
    assert shared("one").query("SELECT count(*) AS n FROM providers WHERE provider = 'p'") == [
        {"n": 1}
    ]
    assert list((tmp_path / "shared").rglob("*.duckdb")) == []
    assert len(list(tmp_path.glob("one/*/lineage.duckdb"))) == 1
    assert len(list(tmp_path.glob("two/*/lineage.duckdb"))) == 1


def test_two_state_folders_share_no_index(shared, tmp_path):
    one = shared("one")
    other = Lineage(root=str(tmp_path / "other"))
    assert one.database != other.database
