"""The web interface, as far as it is ours: which state and study it is started on."""

import json
import sys

from dnd_assets import web_interface


def test_the_instance_is_that_of_the_state_folder_whatever_env_file_lies_about(
    tmp_path, monkeypatch
):
    there, home = tmp_path / "there", tmp_path / "home"
    there.mkdir(), home.mkdir()
    (there / ".env").write_text("DAGSTER_HOME=/nowhere\n")
    monkeypatch.chdir(there)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
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
    assert environment["DND_STUDY"] == str(there / "mine.toml")
