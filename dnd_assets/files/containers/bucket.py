"""Pictures in S3, and in what speaks its language; credentials come from the environment alone.

A place there is written `s3://bucket/key`. As a `Path` it loses a slash, which `in_bucket` and
`as_url` know.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

from dnd_assets.errors import DndError, install_command
from dnd_assets.files.containers.contents import Source

if TYPE_CHECKING:
    from obstore.store import S3Store

START: Final = "s3:/"
PACKAGE: Final = "obstore"
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_BUFFER: Final = 256 * 1024
_HOW: Final = (
    "Credentials and address come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
    "AWS_REGION, AWS_ENDPOINT_URL; AWS_SKIP_SIGNATURE=true for open buckets"
)


class BucketError(DndError):
    """A bucket does not answer, or refuses; nothing is known of what it holds."""


@dataclass(frozen=True)
class Found:
    """An object of a bucket: its place, what changes with its content, its size in bytes."""

    path: Path
    state: str
    size: int


def in_bucket(place: Path | str) -> bool:
    """Whether a place lies in a bucket."""
    return str(place) == "s3:" or str(place).startswith(START)


def as_url(place: Path | str) -> str:
    """A place in a bucket as people write it."""
    return "s3://" + str(place).removeprefix("s3:").lstrip("/")


def objects(place: Path | str) -> Iterator[Found]:
    """Every object below a place, by name; one that is the place itself, too.

    Raises:
        BucketError: when the bucket cannot be read.
    """
    import obstore

    bucket, key = _parts(place)
    try:
        for batch in obstore.list(_store(bucket), prefix=key or None):
            for item in batch:
                if not item["path"].endswith("/"):
                    path = Path(f"{START}{bucket}") / item["path"]
                    yield Found(path, _state(item["e_tag"], item["size"]), item["size"])
        if key:
            head = _head(place)
            if head is not None:
                yield head
    except obstore.exceptions.BaseError as error:
        raise _unreachable(place, error) from error


def opened(place: Path | str) -> Source:
    """An object, to be read in parts.

    Raises:
        FileNotFoundError: when there is none.
        BucketError: when the bucket cannot be read.
    """
    import obstore

    bucket, key = _parts(place)
    head = _head(place)
    if head is None:
        raise FileNotFoundError(2, "there is no such object", as_url(place))
    store = _store(bucket)

    def reader() -> IO[bytes]:
        return cast("IO[bytes]", _Reader(obstore.open_reader(store, key, buffer_size=_BUFFER)))

    return Source(
        as_url(place),
        head.state,
        head.size,
        reader,
        lambda start, length: _range(place, start, length),
    )


def read(place: Path | str) -> bytes:
    """A whole object.

    Raises:
        FileNotFoundError: when there is none.
        BucketError: when the bucket cannot be read.
    """
    import obstore

    bucket, key = _parts(place)
    try:
        return bytes(obstore.get(_store(bucket), key).bytes())
    except (obstore.exceptions.NotFoundError, FileNotFoundError):
        raise FileNotFoundError(2, "there is no such object", as_url(place)) from None
    except obstore.exceptions.BaseError as error:
        raise _unreachable(place, error) from error


def state(place: Path | str) -> str:
    """Changes with the content of an object; empty where there is none.

    Raises:
        BucketError: when the bucket cannot be read.
    """
    head = _head(place)
    return "" if head is None else head.state


def _range(place: Path | str, start: int, length: int) -> bytes:
    import obstore

    bucket, key = _parts(place)
    try:
        return bytes(obstore.get_range(_store(bucket), key, start=start, length=length))
    except (obstore.exceptions.NotFoundError, FileNotFoundError):
        raise FileNotFoundError(2, "there is no such object", as_url(place)) from None
    except obstore.exceptions.BaseError as error:
        raise _unreachable(place, error) from error


def _head(place: Path | str) -> Found | None:
    import obstore

    bucket, key = _parts(place)
    try:
        metadata = obstore.head(_store(bucket), key)
    except (obstore.exceptions.NotFoundError, FileNotFoundError):
        return None
    except obstore.exceptions.BaseError as error:
        raise _unreachable(place, error) from error
    return Found(
        Path(f"{START}{bucket}/{key}"),
        _state(metadata["e_tag"], metadata["size"]),
        metadata["size"],
    )


def _parts(place: Path | str) -> tuple[str, str]:
    bucket, _, key = as_url(place).removeprefix("s3://").partition("/")
    if not bucket:
        raise BucketError(f"{as_url(place)} names no bucket; write s3://bucket/folder.")
    return bucket, key.strip("/")


def _state(tag: str | None, size: int) -> str:
    return f"{tag} {size}"


@lru_cache(maxsize=8)
def _store(bucket: str) -> S3Store:
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise BucketError(
            f"s3://{bucket} is not read without the package {PACKAGE}; run "
            f"`{install_command('s3')}`."
        ) from error
    address = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")
    return S3Store(
        bucket,
        client_options={
            "timeout": timedelta(seconds=60),
            "connect_timeout": timedelta(seconds=5),
            "allow_http": address.startswith("http://"),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
    )


def _unreachable(place: Path | str, error: Exception) -> BucketError:
    reason = " ".join(str(error).split())[:300]
    return BucketError(f"{as_url(place)} cannot be read: {reason}. {_HOW}.")


class _Reader:
    """What obstore opens, as a file: it gives buffers where files give bytes."""

    def __init__(self, file: object) -> None:
        self._file = cast("IO[bytes]", file)
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """As of a file."""
        return bytes(self._file.read(None if size is None or size < 0 else size))  # type: ignore[arg-type]

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of a file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of a file."""
        return self._file.tell()

    def seekable(self) -> bool:
        """As of a file."""
        return True

    def readable(self) -> bool:
        """As of a file."""
        return True

    def writable(self) -> bool:
        """As of a file."""
        return False

    def close(self) -> None:
        """As of a file."""
        if not self.closed:
            self.closed = True
            self._file.close()

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
