"""`dnd` on a folder with a study file, in this process."""

import json

from typer.testing import CliRunner

from dnd_assets.cli import app


def toml(table: dict, path: str = "") -> str:
    """A table of strings, numbers, lists and tables as TOML; JSON writes each value alike."""
    lines, inner = [], []
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            inner += [f"[{name}]", toml(value, name)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                inner += [f"[[{name}]]", toml(item, name)]
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines + inner)


def dnd(folder, *arguments):
    """The result of a command on the study and the state folder in `folder`."""
    environment = {
        "DND_HOME": str(folder / "state"),
        "DND_STUDY": str(folder / "study.toml"),
        "DAGSTER_HOME": str(folder / "state" / "dagster"),
        "COLUMNS": "200",
    }
    return CliRunner().invoke(app, [str(a) for a in arguments], env=environment)
