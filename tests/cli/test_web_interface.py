"""The web interface, as far as it is ours: which state and study it is started on."""

import json
import shutil
import socket
import sys
from urllib.error import HTTPError
from urllib.request import urlopen

import dagster as dg
import pytest

from dnd_assets.cli import web_interface
from dnd_assets.errors import StudyError
from dnd_assets.report.asset import atlas_definitions, serve_atlases
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.atlas_address import note_address, noted_address, page_link
from dnd_assets.workflow.definitions import build_definitions


def test_the_instance_is_that_of_the_state_folder_whatever_env_file_lies_about(
    tmp_path, monkeypatch
):
    there, home = tmp_path / "there", tmp_path / "home"
    there.mkdir(), home.mkdir()
    (there / ".env").write_text("DAGSTER_HOME=/nowhere\n")
    monkeypatch.chdir(there)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("DND_ATLAS_URL", raising=False)
    (there / "mine.toml").write_text("")
    # Another program in the place of Python writes down how it was started.
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        f"told = [sys.argv[1:], os.getcwd(), dict(os.environ)]\n"
        f"open({str(tmp_path / 'told.json')!r}, 'w').write(json.dumps(told))\n"
        "sys.exit(3)\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))

    assert web_interface.serve(home, 3123, "mine.toml") == 3
    arguments, folder, environment = json.loads((tmp_path / "told.json").read_text())
    assert arguments[:3] == ["-m", "dagster", "dev"]
    assert "3123" in arguments
    assert folder == str(home), "no .env is read from the folder where it was started"
    assert environment["DAGSTER_HOME"] == str(home / "dagster")
    assert environment["DND_HOME"] == str(home)
    assert environment["DND_ATLAS_URL"] == "http://127.0.0.1:3124"
    assert noted_address(home) == "http://127.0.0.1:3124", "for runs of the command line"
    assert environment["DND_STUDY"] == str(there / "mine.toml")


def test_pages_are_served_and_missing_ones_say_what_to_do(tmp_path):
    (tmp_path / "mine" / "units").mkdir(parents=True)
    (tmp_path / "mine" / "units" / "a.html").write_text("<p>a unit")
    (tmp_path / "secret.txt").write_text("outside")
    server = serve_atlases(tmp_path, 0)
    root = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        assert urlopen(f"{root}/mine/units/a.html").read() == b"<p>a unit"
        for missing in ("mine/units/b.html", "mine/", "mine/units/", "..%2f..%2fetc/passwd"):
            with pytest.raises(HTTPError) as error:
                urlopen(f"{root}/{missing}")
            assert error.value.code == 404
            assert b"dnd report" in error.value.read(), missing
    finally:
        server.shutdown()


def test_a_taken_port_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StudyError, match=r"is taken.*--port 3010"):
            web_interface.serve(tmp_path, port - 1)


def test_the_atlas_is_an_asset_whose_pages_the_labels_link_to(
    colours, labelled, tmp_path, monkeypatch
):
    shutil.copytree(labelled[0], tmp_path / "copy")
    study, home = parse_study(colours, tmp_path / "copy"), tmp_path / "copy" / "state"
    whole = dg.Definitions.merge(build_definitions(study, home), atlas_definitions(study, home))
    graph = whole.resolve_asset_graph()
    assert graph.get(dg.AssetKey("atlas")).parent_keys == {dg.AssetKey("labels")}
    with dg.DagsterInstance.ephemeral() as instance:
        done = whole.resolve_job_def("write_atlas").execute_in_process(instance=instance)
        assert done.success
        (event,) = done.get_asset_materialization_events()
        assert event.materialization.metadata["units"].value == 8
    key, later = "net/colours/1", "once the asset `atlas` is materialized"
    monkeypatch.delenv("DND_ATLAS_URL", raising=False)
    assert noted_address(home) == ""
    assert page_link(home, study.name, key) == (f"shown by `dnd ui` {later}", False)
    note_address(home, "http://127.0.0.1:3124")
    address, is_open = page_link(home, study.name, key)
    assert is_open
    root, path = address[:22], address[22:]
    assert root == "http://127.0.0.1:3124/"
    assert (home / "atlas" / path).is_file()
    link, is_open = page_link(home, "a b", "net/x/1")
    assert not is_open
    assert link.startswith("http://127.0.0.1:3124/a%20b/units/net-x-1-")
    assert link.endswith(later)
    monkeypatch.setenv("DND_ATLAS_URL", "http://127.0.0.1:3200/")
    assert page_link(home, study.name, key)[0].startswith("http://127.0.0.1:3200/colours/units/")
