"""A content-addressed store of pictures on disk, shared by concurrent processes."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi3k_trainer.files import decode_json, encode_json, read_document, write_atomically


class Index:
    """Small JSON facts by name, one file each, so that concurrent processes need no lock.

    Facts only save work: one that was damaged by a power failure counts as absent.
    """

    def __init__(self, root: Path) -> None:
        """Facts live under `root`, which need not exist yet."""
        self._root = root

    def get(self, name: str) -> dict[str, Any] | None:
        """The fact noted under `name`, if there is one."""
        try:
            fact = decode_json(read_document(self._path(name)))
        except (FileNotFoundError, ValueError):
            return None
        return fact if isinstance(fact, dict) else None

    def put(self, name: str, fact: Mapping[str, Any]) -> None:
        """Note `fact` under `name`, replacing an older one."""
        write_atomically(self._path(name), encode_json(fact), "data.cache", durable=False)

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
        return self._root / digest[:2] / f"{digest}.json"


# Change it whenever a picture that was found good might be refused now: earlier facts are not used then.
_DECODING = 2


class Store:
    """Pictures by the SHA-256 of their bytes, where each URL led, and which pictures were found to be good."""

    def __init__(self, root: Path) -> None:
        """The store lives under `root`, which need not exist yet."""
        self.root = root
        self.urls = Index(root / "urls")
        """URL -> {"url", "sha256"}: what makes fetching resume."""
        self.pictures = Index(root / f"pictures-{_DECODING}")
        """SHA-256 -> {"width", "height"} of a picture that was decoded in full without an error."""

    def path(self, sha256: str) -> Path:
        """Where the picture with this hash is, or would be."""
        return self.root / "objects" / sha256[:2] / sha256

    def put(self, data: bytes) -> str:
        """Keep `data`; returns its SHA-256. Putting the same bytes again costs one look at the disk.

        Raises:
            StorageError: the disk is full or refuses the write.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        if not (path.exists() and path.stat().st_size == len(data)):
            write_atomically(path, data, "data.cache")
        return sha256
