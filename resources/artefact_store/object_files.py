"""Files on S3-compatible object storage, by the library obstore.

A file is put only where none of its name is, so that two writers never replace one another's; what
is read is checked against its name by whoever asks. Keys, region and endpoint come from the usual
variables of the environment (`AWS_ACCESS_KEY_ID`, ...), and from nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from dnd_assets.errors import StoreError
from dnd_assets.files.atomic import sha256
from dnd_assets.methods.lazy import extra
from resources.artefact_store.local_copies import LocalCopies
from resources.artefact_store.local_files import set_aside_name

if TYPE_CHECKING:
    from obstore.store import S3Store

SCHEME = "s3://"
_MOST_SINGLE_REQUESTS = 8
"""So many files are asked for one by one before all of them are listed."""
_LISTED_S = 60.0
"""So long a listing holds for what is not in it."""


@dataclass
class ObjectFiles:
    """Files under a prefix of a bucket, with copies on this machine.

    Attributes:
        address: `s3://bucket/prefix`.
        copies: what has been read or written here.
        retries: how often a request is sent again that the network or the storage failed.
    """

    address: str
    copies: LocalCopies
    retries: ClassVar[int] = 4
    _sizes: dict[str, int] = field(default_factory=dict)
    _listed: float = -_LISTED_S
    _single_requests: int = 0
    _guard: RLock = field(default_factory=RLock)

    def read(self, name: str) -> bytes:
        """See `Files`; from the copy on this machine, if there is one."""
        copy = self.copies.get(name)
        if copy is not None:
            return copy
        try:
            with self._refusals_in_words():
                data = bytes(self._bucket.get(_key(name)).bytes())
        except FileNotFoundError:
            self._sizes.pop(name, None)
            raise
        if sha256(data) == name.partition(".")[0]:
            self.copies.keep(name, data)
        return data

    def write(self, name: str, data: bytes) -> None:
        """See `Files`; one that is damaged is set aside first."""
        bucket = self._bucket
        from obstore.exceptions import AlreadyExistsError

        try:
            with self._refusals_in_words():
                bucket.put(_key(name), data, mode="create")
        except AlreadyExistsError:
            if self.content_hash(name) != name.partition(".")[0]:
                self.set_aside(name)
                with self._refusals_in_words():
                    bucket.put(_key(name), data)
        self._sizes[name] = len(data)
        self.copies.keep(name, data)

    def size(self, name: str) -> int:
        """See `Files`; files that are there are known from one listing."""
        with self._guard:
            if name in self._sizes:
                return self._sizes[name]
            if (
                self._single_requests >= _MOST_SINGLE_REQUESTS
                and time.monotonic() - self._listed > _LISTED_S
            ):
                self.names()
            else:
                self._single_requests += 1
            if name not in self._sizes:
                try:
                    with self._refusals_in_words():
                        self._sizes[name] = self._bucket.head(_key(name))["size"]
                except FileNotFoundError:
                    return -1
            return self._sizes[name]

    def names(self) -> dict[str, int]:
        """See `Files`."""
        with self._guard, self._refusals_in_words():
            self._sizes = {
                entry["path"].rpartition("/")[2]: entry["size"]
                for page in self._bucket.list()
                for entry in page
            }
            self._listed = time.monotonic()
            return dict(self._sizes)

    def content_hash(self, name: str) -> str:
        """See `Files`; of what lies in the bucket, whatever the copy here is."""
        try:
            with self._refusals_in_words():
                return sha256(bytes(self._bucket.get(_key(name)).bytes()))
        except FileNotFoundError:
            return ""

    def remove(self, name: str) -> None:
        """See `Files`."""
        self._sizes.pop(name, None)
        self.copies.forget(name)
        with self._refusals_in_words():
            self._bucket.delete(_key(name))

    def set_aside(self, name: str) -> None:
        """See `Files`."""
        self._sizes.pop(name, None)
        self.copies.forget(name)
        try:
            with self._refusals_in_words():
                self._bucket.copy(_key(name), _key(set_aside_name(name)))
                self._bucket.delete(_key(name))
        except FileNotFoundError:
            return  # another process may have done so

    @cached_property
    def _bucket(self) -> S3Store:
        extra("obstore", f"the store {self.address}")
        from obstore.store import S3Store

        bucket, prefix = parsed(self.address)
        return S3Store(
            bucket,
            prefix=prefix or None,
            client_options={"allow_http": True},
            retry_config={"max_retries": self.retries, "retry_timeout": timedelta(seconds=60)},
        )

    @contextmanager
    def _refusals_in_words(self) -> Iterator[None]:
        """Within the block, errors of the storage become errors that say what to look at.

        Raises:
            FileNotFoundError: when a file is not there.
            StoreError: for any other refusal.
        """
        extra("obstore", f"the store {self.address}")
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            yield
        except AlreadyExistsError:
            raise
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise StoreError(_refusal(self.address, error)) from error
            raise
        except (BaseError, OSError) as error:
            raise StoreError(_refusal(self.address, error)) from error


def parsed(address: str) -> tuple[str, str]:
    """Bucket and prefix of an address.

    Raises:
        StoreError: when it is no address of a bucket, or holds a key.
    """
    parts = urlsplit(address)
    if "@" in parts.netloc or parts.query:
        raise StoreError(
            "the address of a store holds no keys: name bucket and prefix alone, as "
            "s3://bucket/prefix, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if parts.scheme != "s3" or not parts.netloc:
        raise StoreError(
            f"store = {address!r} is neither a folder nor s3://bucket/prefix; of other storages "
            "name those that speak S3 by AWS_ENDPOINT_URL"
        )
    return parts.netloc, parts.path.strip("/")


def _key(name: str) -> str:
    """The object's key: laid out as in a folder, so that any tool can copy a store."""
    return f"{name[:2]}/{name}"


def _refusal(address: str, error: Exception) -> str:
    reason = (
        str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    )
    return (
        f"the store {address} does not answer as it should: {reason}. Look at the bucket's name, "
        "at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL, and at the "
        "network; then run again: finished work is kept."
    )
