"""Bring trained models into the form that ships: float16, small files, no local paths."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from diffusers import StableDiffusionPipeline

from dnd_assets.known_answers.train.common import halve_files, log

LIMIT_BYTES = 25 * 1024 * 1024
FILE_LIMIT_BYTES = 5 * 1024 * 1024
_SHARD = "8MB"  # in float32; half of it ships


def release(name: str, trained: Path, checkpoints: Path) -> Path:
    """Copy one trained model into the folder of checkpoints and return its folder there.

    Args:
        name: "target", "captioner", "clip", "recogniser" or "text_to_image".
        trained: Folder of the trained model.
        checkpoints: Folder of all checkpoints.

    Raises:
        ValueError: If a file or all files together are larger than what may ship.
    """
    out = checkpoints / name
    partial = checkpoints / (name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if name == "text_to_image":
        pipeline = StableDiffusionPipeline.from_pretrained(trained, safety_checker=None)
        pipeline.save_pretrained(partial, safe_serialization=True, max_shard_size=_SHARD)
        halve_files(partial)
    else:
        shutil.copytree(trained, partial)
    _scrub(partial)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    _check_sizes(checkpoints)
    return out


def _scrub(folder: Path) -> None:
    """Drop the local paths that libraries note in configurations; correct the shards' sizes."""
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or path.name == "tokenizer.json":
            continue
        content.pop("_name_or_path", None)
        if path.name.endswith(".index.json"):
            shards = set(content["weight_map"].values())
            content["metadata"]["total_size"] = sum(
                (path.parent / shard).stat().st_size for shard in shards
            )
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        path.write_text(text, encoding="utf-8")


def _check_sizes(checkpoints: Path) -> None:
    sizes = {path: path.stat().st_size for path in checkpoints.rglob("*") if path.is_file()}
    large = [path.name for path, size in sizes.items() if size >= FILE_LIMIT_BYTES]
    total = sum(sizes.values())
    log.info("checkpoints: %d files, %.2f MB", len(sizes), total / 1e6)
    if large or total > LIMIT_BYTES:
        raise ValueError(
            f"the checkpoints take {total} of {LIMIT_BYTES} bytes and these files reach the "
            f"limit of {FILE_LIMIT_BYTES} bytes: {large}; make the models smaller"
        )
