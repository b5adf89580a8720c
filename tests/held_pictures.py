"""Counts the decoded pictures that are in memory at once: memory itself depends on the allocator's mood."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phi3k_trainer.data import encoding


@dataclass
class HeldPictures:
    """Decoded pictures of the encoder, cached ones included."""

    decoded: int = 0
    """All so far."""
    held: int = 0
    """In memory now."""
    most: int = 0
    """In memory at once, so far."""


@contextmanager
def counted_pictures() -> Iterator[HeldPictures]:
    """Count the pictures that encoders decode in the block."""
    count, lock, transform = HeldPictures(), Lock(), encoding.hd_transform

    def forget() -> None:
        with lock:
            count.held -= 1

    def hd_transform(image: Image.Image, num_crops: int) -> NDArray[np.uint8]:
        pixels = transform(image, num_crops)
        weakref.finalize(pixels, forget)
        with lock:
            count.decoded += 1
            count.held += 1
            count.most = max(count.most, count.held)
        return pixels

    with patch.object(encoding, "hd_transform", hd_transform):
        yield count
