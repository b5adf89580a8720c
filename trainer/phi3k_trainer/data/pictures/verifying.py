"""Verifying pictures, on disk and as they arrive: what passes here decodes in training."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from phi3k_trainer.data.pictures.files import PictureFileError, read_picture_file
from phi3k_trainer.data.pictures.store import Store
from phi3k_trainer.errors import Phi3kError
from phi3k_trainer.images.decode import use_decoded
from phi3k_trainer.images.errors import ImageError
from phi3k_trainer.images.grid import hd_shape

_LONGEST_DETAIL = 500


def shortened(detail: str) -> str:
    """A message of bounded length: its beginning and its end, where names and causes stand."""
    if len(detail) <= _LONGEST_DETAIL:
        return detail
    half = _LONGEST_DETAIL // 2
    return f"{detail[:half]} ... {detail[-half:]}"


@dataclass(frozen=True)
class Failure:
    """Why a picture can't be had."""

    reason: str
    detail: str
    transient: bool = False
    """Whether it may succeed in another run."""


@dataclass(frozen=True)
class Picture:
    """A picture that was decoded in full, with its size as displayed, in pixels."""

    sha256: str
    width: int
    height: int
    num_bytes: int
    mtime_ns: int | None = None
    """When its file was last changed; None: it came without one."""


class PictureVerifier:
    """Decodes each picture once, ever: good ones are remembered in the store by their hash."""

    def __init__(self, store: Store, *, max_pixels: int, num_crops: int, max_bytes: int | None = None) -> None:
        """Refuse pictures over `max_pixels`, files over `max_bytes`, and what is too thin for `num_crops` crops."""
        self._store = store
        self._max_pixels = max_pixels
        self._num_crops = num_crops
        self._max_bytes = max_bytes

    def body(self, data: bytes) -> Picture | Failure:
        """The picture that `data` encodes, or why it can't be used."""
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            width, height = self._remembered(sha256) or self._decoded(sha256, data)
            hd_shape(width, height, self._num_crops)
        except ImageError as error:
            return Failure(error.reason, shortened(str(error)))
        except MemoryError:
            return Failure("unreadable", "this machine has not enough free memory to decode it", transient=True)
        return Picture(sha256, width, height, len(data))

    def file(self, path: Path) -> Picture | Failure:
        """The picture in a local file, or why it can't be used.

        Raises:
            UnreadableStorageError: the storage fails.
            StorageError: the store can't be written.
        """
        try:
            file = read_picture_file(path, self._max_bytes)
            result = self.body(file.data)
        except ImageError as error:
            return Failure(error.reason, shortened(f"{path}: {error}"))
        except PictureFileError as error:
            return Failure(error.reason, shortened(str(error)))
        except Phi3kError:
            raise
        except Exception as error:  # the boundary: whatever one file leads to is that picture's failure
            return Failure("unreadable", shortened(f"{path}: {type(error).__name__}: {error}"), transient=True)
        if isinstance(result, Failure):
            return replace(result, detail=shortened(f"{path}: {result.detail}"))
        return replace(result, mtime_ns=file.mtime_ns)

    def stored(self, sha256: str) -> Picture | Failure:
        """The picture kept under its hash in the store."""
        return self.file(self._store.path(sha256))

    def _remembered(self, sha256: str) -> tuple[int, int] | None:
        fact = self._store.pictures.get(sha256)
        if fact is None or fact["width"] * fact["height"] > self._max_pixels:
            return None
        return int(fact["width"]), int(fact["height"])

    def _decoded(self, sha256: str, data: bytes) -> tuple[int, int]:
        width, height = use_decoded(data, lambda image: image.size, max_pixels=self._max_pixels)
        self._store.pictures.put(sha256, {"width": width, "height": height})
        return width, height
