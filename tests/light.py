"""The smallest real project: a network known by hand, and models that take no time to load."""

from pathlib import Path

from tests import studies
from tests.command_line import toml

_CAPTIONER = '''
"""Says which colour a picture holds most of, beside grey."""

import time

import numpy as np

SECONDS = {seconds}


def caption(image):
    time.sleep(SECONDS)
    pixels = np.asarray(image, dtype=float).reshape(-1, 3)
    coloured = pixels[np.ptp(pixels, axis=1) > 60]
    if not len(coloured):
        return "a grey wall"
    return "a " + ("red", "green", "blue")[int(coloured.mean(axis=0).argmax())] + " square"
'''


def table(clip: Path) -> dict:
    """The study: two units, five captions each, pictures of a renderer."""
    found = studies.table(Path("none"), clip, Path("none"))
    found["models"][0]["layers"] = [{"path": "colours", "neurons": [0, 1]}]
    found["captioner"] = {"kind": "own", "source": "light_captioner:caption"}
    found["text_to_image"] = {"kind": "world"}
    return found


def project(folder: Path, clip: Path, seconds: float = 0.0, **changes) -> Path:
    """A folder with the study, its images and its captioner.

    Args:
        folder: the folder, made when missing.
        clip: a tiny CLIP.
        seconds: that each caption takes.
        changes: of the study, as `section__key=value`.
    """
    studies.write_images(folder / "images", 9)
    (folder / "light_captioner.py").write_text(_CAPTIONER.format(seconds=seconds))
    (folder / "study.toml").write_text(toml(studies.changed(table(clip), **changes)))
    return folder
