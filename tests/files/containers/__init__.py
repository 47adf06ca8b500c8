"""Files of many pictures, written as their makers write them."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NAMES = ["cat", "dog", "owl"]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(number, size=(20, 16)):
    """A picture's bytes; another one for each number."""
    colour = (number * 40 % 256, number * 7 % 256, 200)
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def shard(path, members):
    """Write a TAR file of names and bytes, in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def samples(numbers):
    """Samples of WebDataset: picture, caption, class, for each number."""
    for n in numbers:
        yield f"{n:06d}.png", png(n)
        yield f"{n:06d}.txt", f"a picture  of\nnumber {n}".encode()
        yield f"{n:06d}.cls", str(n % 3).encode()


def features(**more):
    """What `datasets` notes of columns."""
    label = {"names": NAMES, "_type": "ClassLabel"}
    held = {"image": {"_type": "Image"}, "label": label, "caption": {"dtype": "string"}, **more}
    return {b"huggingface": json.dumps({"info": {"features": held}}).encode()}


def table(numbers, metadata=True):
    """Pictures, labels and captions as `datasets` has them."""
    numbers = list(numbers)
    rows = {
        "label": pa.array([n % 3 for n in numbers], pa.int64()),
        "image": pa.array([{"bytes": png(n), "path": None} for n in numbers], STRUCT),
        "caption": pa.array([f"number {n}" for n in numbers]),
    }
    found = pa.table(rows)
    return found.replace_schema_metadata(features()) if metadata else found


def parquet(path, numbers, group=4, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(numbers, **more), path, row_group_size=group)
    return path


def saved(folder, numbers, batch=3):
    """A folder as `Dataset.save_to_disk` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    held = table(numbers)
    name = "data-00000-of-00001.arrow"
    with pa.ipc.new_stream(str(folder / name), held.schema) as stream:
        stream.write_table(held, max_chunksize=batch)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
