"""The HD transform: a picture becomes a global view and a grid of crops of 336 x 336 pixels.

As the published image processor does it, in two halves: `hd_transform` resizes and pads in 8 bits (what is
kept in memory and sent to the device), `views` makes floats of that (cheap, on any device).
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from phi3k_trainer.images.grid import CROP_SIZE, fit, hd_shape

__all__ = ["CROP_SIZE", "IMAGE_MEAN", "IMAGE_STD", "hd_shape", "hd_transform", "views"]

# CLIP's statistics of the red, green and blue channel in [0, 1] (OpenAI CLIP; preprocessor_config.json).
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)

_WHITE = (255, 255, 255)


def hd_transform(image: Image.Image, num_crops: int) -> NDArray[np.uint8]:
    """Resize an RGB picture to its grid of crops and pad it with white.

    Returns:
        uint8 `[H, W, 3]`, H and W multiples of 336: the crop format of the training path.

    Raises:
        ImageError: with reason `too_thin`, as in `hd_shape`.
    """
    # Pillow rounds to 8 bits between its horizontal and vertical pass, so the order of the sides matters for parity.
    portrait = image.width < image.height
    if portrait:
        image = image.transpose(Image.Transpose.TRANSPOSE)
    columns, resized = fit(image.width, image.height, num_crops)
    width, height = columns * CROP_SIZE, math.ceil(resized / CROP_SIZE) * CROP_SIZE
    image = image.resize((width, resized), Image.Resampling.BILINEAR)
    padded = np.full((height, width, 3), _WHITE, dtype=np.uint8)
    top = (height - resized) // 2
    padded[top : top + resized] = np.asarray(image)
    return np.ascontiguousarray(padded.transpose(1, 0, 2)) if portrait else padded


def views(padded: Tensor) -> Tensor:
    """The normalised views of one picture: global view first, then the crops row by row.

    Args:
        padded: uint8 `[H, W, 3]` as `hd_transform` returns it, on any device.

    Returns:
        float32 `[1 + (H/336) * (W/336), 3, 336, 336]` on the same device.
    """
    rows, columns = padded.shape[0] // CROP_SIZE, padded.shape[1] // CROP_SIZE
    std = torch.tensor(IMAGE_STD, device=padded.device).view(3, 1, 1)
    mean = torch.tensor(IMAGE_MEAN, device=padded.device).view(3, 1, 1)
    pixels = padded.permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format)
    pixels = pixels.div_(255).sub_(mean).div_(std)
    crops = pixels.view(3, rows, CROP_SIZE, columns, CROP_SIZE).permute(1, 3, 0, 2, 4)
    out = pixels.new_empty(1 + rows * columns, 3, CROP_SIZE, CROP_SIZE)
    # Bicubic interpolation to the same size is the identity, and slow.
    out[0] = pixels if rows * columns == 1 else _shrink(pixels)
    out[1:].view(rows, columns, 3, CROP_SIZE, CROP_SIZE).copy_(crops)
    return out


def _shrink(pixels: Tensor) -> Tensor:
    """`[3, H, W]` to `[3, 336, 336]`, with the published interpolation."""
    return functional.interpolate(pixels[None], size=(CROP_SIZE, CROP_SIZE), mode="bicubic", align_corners=False)[0]
