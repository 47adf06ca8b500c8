"""The artefact store: content by its hash, in a folder or on S3-compatible storage.

Who works with artefacts asks `ArtefactStore`, never for a path: they may lie on another machine.
"""

from resources.artefact_store.store import ArtefactStore, store_of

__all__ = ["ArtefactStore", "store_of"]
