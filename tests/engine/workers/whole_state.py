"""What a state folder holds, for comparing what different workers made."""

from pathlib import Path

from dnd_assets.engine.context_builder import build_context
from dnd_assets.study.study import parse_study


def state(table, folder, home=None):
    """Products with their content, store files, counted work, shared results and artefacts."""
    home = Path(home or folder / "state")
    context = build_context(parse_study(table, folder), home)
    ask = context.lineage.query
    return {
        "products": ask("SELECT key, asset, data_version, payload, notes FROM products ORDER BY 1"),
        "store": sorted(path.name for path in (home / "store").rglob("*.*")),
        "work": ask("SELECT asset, what, sum(count) AS n FROM work GROUP BY ALL ORDER BY ALL"),
        "shared": ask("SELECT kind, provider, item, value FROM shared ORDER BY ALL"),
        "artefacts": ask("SELECT hash, file, kind, bytes FROM artefacts ORDER BY ALL"),
    }
