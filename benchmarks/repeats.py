"""The same study with other hash seeds, threads, orders of units and batch sizes."""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.setting import Figure, Table
from tests import studies

VARIANTS = (
    {"hash seed": 0, "threads": 1, "order": "as given", "batch": 8},
    {"hash seed": 1, "threads": 2, "order": "reversed", "batch": 8},
    {"hash seed": 2, "threads": 1, "order": "one by one", "batch": 8},
    {"hash seed": 3, "threads": 2, "order": "as given", "batch": 3},
    {"hash seed": 4, "threads": 1, "order": "reversed", "batch": 16},
)
ORDERS = {
    "as given": [[]],
    "reversed": [["net/spoilt"], ["net/colours"]],
    "one by one": [[f"net/{layer}/{n}"] for layer in ("spoilt", "colours") for n in (3, 1, 0, 2)],
}


def repeats(table: Table, folder: Path) -> list[Figure]:
    """Run every variant in a process of its own and compare labels and content."""
    found = []
    for number, variant in enumerate(VARIANTS):
        place = folder / f"repeat {number}"
        place.mkdir()
        (place / "study.json").write_text(json.dumps({"table": table, "variant": variant}))
        done = subprocess.run(  # noqa: S603 (our own command)
            [sys.executable, "-m", "benchmarks.repeats", str(place)],
            env={**os.environ, "PYTHONHASHSEED": str(variant["hash seed"])},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        found.append(json.loads(done.stdout.splitlines()[-1]))
    labels = sum(one["labels"] != found[0]["labels"] for one in found)
    pairs = [sum(one["content"][k] != v for k, v in found[0]["content"].items()) for one in found]
    name = f"{len(VARIANTS)} repeats with other hash seeds, threads, unit orders, batch sizes"
    return [
        Figure(f"{name}: other labels", str(labels), "0", labels == 0),
        Figure(f"{name}: products with other bytes", str(sum(pairs)), "0", not any(pairs)),
    ]


def _one(place: Path) -> None:
    """Label as a variant says, and print what came out."""
    import torch

    given = json.loads((place / "study.json").read_text())
    table, variant = given["table"], given["variant"]
    torch.set_num_threads(variant["threads"])
    table["compute"]["batch"] = dict.fromkeys(table["compute"]["batch"], variant["batch"])
    labels, content = {}, {}
    for number, units in enumerate(ORDERS[variant["order"]]):
        found = studies.label(table, place, units, run=f"run {number}")
        for (asset, unit), one in found.items():
            content[f"{asset} {unit}"] = one.product.data_version
            if asset == "labels":
                labels[unit] = one.product.payload.get("label", one.record.status)
    sys.stdout.write(json.dumps({"labels": labels, "content": content}) + "\n")


if __name__ == "__main__":
    _one(Path(sys.argv[1]))
