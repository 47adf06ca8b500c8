"""The paper's human study: pictures of a unit, one description of each method, five points.

Raters see the ten most activating pictures and the descriptions of all methods side by side, and
say how far they agree with each (DnD, section 4.3). They do not learn which method wrote which:
the order is shuffled for each unit, and only `key.json`, which stays at home, tells it.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from dnd_assets.analysis.human_study.forms import (
    Form,
    label_studio_config,
    label_studio_tasks,
    mturk_rows,
    mturk_template,
)
from dnd_assets.errors import StudyError, nearest
from dnd_assets.files.atomic import sha256, write_atomic
from dnd_assets.files.csv_tables import read_text
from dnd_assets.methods.seeds import content_seed

KEY: Final = "key.json"
_VERSION: Final = 1
_SHOWN_AS_IS: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}
_MIME: Final = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}


@dataclass(frozen=True)
class Task:
    """One unit to be judged.

    Attributes:
        unit: its key, such as `net/layer4/3`.
        images: its most activating pictures, files or their bytes (paper: 10).
        descriptions: for each method what it says of the unit.
    """

    unit: str
    images: Sequence[Path | bytes]
    descriptions: Mapping[str, str]


@dataclass(frozen=True)
class Asked:
    """What a task of an exported study was about.

    Attributes:
        unit: its key.
        methods: who wrote the descriptions, in the order shown.
    """

    unit: str
    methods: tuple[str, ...]


def export_study(
    tasks: Sequence[Task], folder: Path, *, image_url: str = "", seed: int = 0
) -> list[Path]:
    """Write a study for Label Studio and for MTurk.

    `label_studio/tasks.json` and `config.xml`, `mturk/tasks.csv` and `template.html`, `images/`,
    and `key.json`, which no rater may see. The same tasks and seed give the same files.

    Args:
        tasks: the units; all with as many images and with descriptions of the same methods.
        folder: where to write; made if needed.
        image_url: address at which `images/` will be served, with `https://`. Without it the
            tasks of Label Studio hold the pictures themselves, and MTurk, which takes none,
            gets no files.
        seed: of the order of the descriptions, besides the unit.

    Returns:
        The files written, pictures last.

    Raises:
        StudyError: when tasks differ in shape, a unit comes twice, a text is blank, a picture
            cannot be read, `image_url` is no address, or the folder holds the key of another study.
    """
    _check(tasks)
    if image_url and not image_url.startswith(("https://", "http://")):
        raise StudyError(f"image_url = {image_url!r} is no address; it starts with https://.")
    shuffled = {task_id(task.unit, seed): (task, shown_order(task, seed)) for task in tasks}
    pictures: dict[str, bytes] = {}
    forms = []
    for name in sorted(shuffled):  # so that layers come mixed
        task, methods = shuffled[name]
        names = [_add_picture(pictures, task, image) for image in task.images]
        urls = tuple(_url(picture, pictures[picture], image_url) for picture in names)
        texts = tuple(_one_line(task.descriptions[method]) for method in methods)
        forms.append(Form(name, urls, texts))
    files = {KEY: _key({name: Asked(t.unit, methods) for name, (t, methods) in shuffled.items()})}
    files |= _forms(forms, mturk=bool(image_url))
    _check_folder(folder, files[KEY])
    data = {name: text.encode() for name, text in files.items()}
    data |= {f"images/{name}": content for name, content in sorted(pictures.items())}
    for name, content in data.items():
        write_atomic(folder / name, content)
    return [folder / name for name in data]


def task_id(unit: str, seed: int = 0) -> str:
    """The name of a unit's task, which tells nothing of the unit."""
    return f"{content_seed('human study', unit, seed):016x}"


def shown_order(task: Task, seed: int = 0) -> tuple[str, ...]:
    """The methods of a task in the order in which their descriptions are shown.

    Shuffled by the content: the unit, the methods and the seed; other tasks do not matter.
    """
    methods = sorted(task.descriptions)
    rng = np.random.default_rng(content_seed("shown order", task.unit, *methods, seed))
    return tuple(methods[i] for i in rng.permutation(len(methods)))


def read_key(path: Path) -> dict[str, Asked]:
    """What each task of an exported study was about, by the task's name.

    Raises:
        NotFoundError: when there is no such file.
        StudyError: when it is not the key of a study.
    """
    try:
        content = json.loads(read_text(path))
        if content["version"] != _VERSION:
            raise ValueError(f"version {content['version']}")
        tasks = content["tasks"].items()
        return {name: Asked(entry["unit"], tuple(entry["methods"])) for name, entry in tasks}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{path} is not the key of a human study ({error}). Give the {KEY} that was written "
            "with the study."
        ) from error


def _forms(forms: Sequence[Form], *, mturk: bool) -> dict[str, str]:
    shape = (len(forms[0].images), len(forms[0].descriptions))
    files = {
        "label_studio/tasks.json": label_studio_tasks(forms),
        "label_studio/config.xml": label_studio_config(*shape),
    }
    if mturk:
        files |= {
            "mturk/tasks.csv": mturk_rows(forms),
            "mturk/template.html": mturk_template(*shape),
        }
    return files


def _key(subjects: Mapping[str, Asked]) -> str:
    tasks = {
        name: {"unit": subject.unit, "methods": list(subject.methods)}
        for name, subject in sorted(subjects.items())
    }
    return json.dumps({"version": _VERSION, "tasks": tasks}, indent=1, ensure_ascii=False)


def _check_folder(folder: Path, key: str) -> None:
    """Refuse a folder with another study's key, without which its ratings could not be read."""
    key_file = folder / KEY
    if key_file.is_file() and key_file.read_bytes() != key.encode():
        raise StudyError(
            f"{key_file} is the key of another study, and its ratings would be lost without it. "
            "Choose an empty folder."
        )


def _check(tasks: Sequence[Task]) -> None:
    if not tasks:
        raise StudyError("a human study needs one task at least; there is none.")
    seen_units: set[str] = set()
    first = tasks[0]
    for task in tasks:
        if task.unit in seen_units:
            raise StudyError(f"unit {task.unit} comes twice. Give each unit once.")
        seen_units.add(task.unit)
        if set(task.descriptions) != set(first.descriptions) or not task.descriptions:
            raise StudyError(
                f"unit {task.unit} has descriptions by {_names(task.descriptions)}, but "
                f"{first.unit} by {_names(first.descriptions)}. Give each unit one of every method."
            )
        if len(task.images) != len(first.images) or not task.images:
            raise StudyError(
                f"unit {task.unit} has {len(task.images)} images, but {first.unit} "
                f"{len(first.images)}. Give as many of every unit."
            )
        silent_methods = sorted(m for m, text in task.descriptions.items() if not _one_line(text))
        if silent_methods:
            raise StudyError(
                f"unit {task.unit} has no description by {', '.join(silent_methods)}. "
                "Leave the unit out."
            )


def _names(descriptions: Mapping[str, str]) -> str:
    return ", ".join(sorted(descriptions)) or "nobody"


def _add_picture(pictures: dict[str, bytes], task: Task, image: Path | bytes) -> str:
    """Put a picture among the others; its name is its content's hash."""
    content = _bytes(task, image)
    try:
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
            suffix = _SHOWN_AS_IS.get(opened.format or "")
            if suffix is None:
                buffer = io.BytesIO()
                opened.convert("RGB").save(buffer, "PNG")
                content, suffix = buffer.getvalue(), "png"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        picture_name = str(image) if isinstance(image, Path) else f"of {len(image):,} bytes"
        raise StudyError(
            f"picture {picture_name} of unit {task.unit} cannot be read: {error}."
        ) from error
    name = f"{sha256(content)}.{suffix}"
    pictures[name] = content
    return name


def _bytes(task: Task, image: Path | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes()
    except OSError as error:
        file_names = [p.name for p in image.parent.iterdir()] if image.parent.is_dir() else []
        neighbours = nearest(image.name, sorted(file_names))
        raise StudyError(
            f"no picture {image} of unit {task.unit}: {error.strerror}; its folder holds: "
            f"{', '.join(neighbours) or 'nothing'}."
        ) from error


def _url(name: str, content: bytes, image_url: str) -> str:
    if image_url:
        return f"{image_url.rstrip('/')}/{name}"
    mime = _MIME[name.rpartition(".")[2]]
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def _one_line(text: str) -> str:
    """One line without control characters."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
