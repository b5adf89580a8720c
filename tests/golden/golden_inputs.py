"""The golden vectors, and the images and weights they were made from.

`golden.json` and `golden.npz` hold what the published code of Phi-3-Vision computed on CPU in float32. Its
inputs are far too large to keep, so they are drawn from seeded generators: `rng(tag)` for a tag is numpy's
`default_rng(crc32(salt + tag))`.
"""

import functools
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DIRECTORY = Path(__file__).parent
PIXEL_TOLERANCE = 1e-4
LOGIT_TOLERANCE = 2e-4
LOSS_TOLERANCE = 1e-5
GRADIENT_NORM_RELATIVE_TOLERANCE = 1e-3

EMBEDDING_ALIAS = "model.vision_embed_tokens.wte.weight"
"""A second name of `model.embed_tokens.weight` in the published code: it has no weights of its own."""


@functools.cache
def golden() -> dict[str, Any]:
    """The recorded configuration, prompts, losses, gradient norms and checksums."""
    loaded: dict[str, Any] = json.loads((DIRECTORY / "golden.json").read_text(encoding="utf-8"))
    return loaded


@functools.cache
def arrays() -> dict[str, npt.NDArray[Any]]:
    """The recorded samples: for each name a pair `<name>/index` (flat, int64) and `<name>/value` (float32)."""
    with np.load(DIRECTORY / "golden.npz") as stored:
        return dict(stored)


def rng(tag: str) -> np.random.Generator:
    """The generator of everything drawn for one tag."""
    return np.random.default_rng(zlib.crc32((golden()["salt"] + tag).encode()))


@functools.cache
def golden_image(name: str) -> npt.NDArray[np.uint8]:
    """Draw a golden image and check it against its recorded SHA-256.

    Three sine waves, one a channel, under six filled rectangles.

    Returns:
        uint8 `[height, width, 3]`.
    """
    recorded = golden()["images"][name]
    width, height = recorded["width"], recorded["height"]
    generator = rng("image:" + name)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    canvas = np.empty((height, width, 3), dtype=np.float64)
    for channel in range(3):
        frequency_x, frequency_y, phase = generator.uniform(0.5, 6, 3)
        angle = 2 * np.pi * (frequency_x * x / width + frequency_y * y / height) + phase
        canvas[..., channel] = 127.5 + 90 * np.sin(angle)
    for _ in range(6):
        x0 = generator.integers(0, max(1, width - 8))
        y0 = generator.integers(0, max(1, height - 8))
        rectangle_width = generator.integers(4, max(5, width // 3))
        rectangle_height = generator.integers(4, max(5, height // 3))
        canvas[y0 : y0 + rectangle_height, x0 : x0 + rectangle_width] = generator.integers(0, 256, 3)
    image = np.clip(np.floor(canvas), 0, 255).astype(np.uint8)
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    if digest != recorded["sha256"]:
        raise AssertionError(f"golden image {name!r} came out as {digest}, recorded is {recorded['sha256']}")
    return image


def golden_weight(key: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Draw the weights stored under one key of the golden model: float32 of `shape`."""
    noise = rng("weight:" + key).standard_normal(shape, dtype=np.float32)
    if key.endswith("weight") and ("norm" in key or "layrnorm" in key):
        return np.float32(1) + np.float32(0.1) * noise
    return np.float32(0.05) * noise


def golden_weights() -> dict[str, npt.NDArray[np.float32]]:
    """All weights of the golden model by published key, without the alias of the embedding."""
    shapes: dict[str, list[int]] = golden()["state_dict"]
    return {key: golden_weight(key, tuple(shape)) for key, shape in shapes.items() if key != EMBEDDING_ALIAS}


def golden_config(**overrides: Any) -> dict[str, Any]:
    """The golden model's configuration in the published form, with its CLIP settings under `vision_config`."""
    return {**golden()["config"], "vision_config": golden()["vision_config"], **overrides}
