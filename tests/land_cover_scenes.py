"""Small made-up scenes of land cover, in the layout of real ones."""

from pathlib import Path

import numpy as np

COVERS = {1: "Rice", 2: "Open Water/Wetland", 3: "Tree Nuts"}
"""Codes with names; each has a colour of its own."""
COLOURS = {1: (60, 160, 60, 200), 2: (30, 40, 120, 10), 3: (140, 110, 60, 120)}


def write_scenes(folder: Path, count: int = 2, side: int = 32, seed: int = 0) -> Path:
    """Scenes whose left half is of one cover and whose right half is of others, block by block."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    lines = ["code,land cover", *(f"{code},{name}" for code, name in COVERS.items())]
    (folder / "cdl_codes.csv").write_text("\n".join(lines) + "\n")
    for number in range(count):
        codes = rng.integers(1, 4, (side // 8, side // 8)).repeat(8, axis=0).repeat(8, axis=1)
        codes[:, : side // 2] = 1 + number % 3
        table = np.array([(0, 0, 0, 0), *COLOURS.values()])
        bands = np.clip(table[codes] + rng.integers(-8, 9, (side, side, 4)), 0, 255)
        scene = np.concatenate([bands, codes[..., None]], axis=2).astype(np.uint8)
        np.save(folder / f"scene{number}.npy", scene)
    return folder
