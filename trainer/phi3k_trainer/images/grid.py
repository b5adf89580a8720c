"""How many crops and tokens a picture of a given size takes: arithmetic only, nothing heavier is imported."""

import math

from phi3k_trainer.images.errors import ImageError

CROP_SIZE = 336
"""Edge in pixels of a crop and of the global view: the input of CLIP ViT-L/14-336."""


def hd_shape(width: int, height: int, num_crops: int) -> tuple[int, int]:
    """Rows and columns of crops for a picture of `width` x `height` pixels.

    The longer side gets the largest number of crops with which the grid has at most `num_crops`.

    Raises:
        ImageError: with reason `too_thin` when the shorter side would be resized to nothing.
    """
    columns, resized = fit(max(width, height), min(width, height), num_crops)
    rows = math.ceil(resized / CROP_SIZE)
    return (rows, columns) if width >= height else (columns, rows)


def image_tokens(rows: int, columns: int, tokens_per_crop: int) -> int:
    """Tokens of one picture of `rows` x `columns` crops.

    The crops and the global view, a separator after each row of the merged picture (of the crops and of
    the global view), and one separator between the two.

    Args:
        rows: Rows of crops.
        columns: Columns of crops.
        tokens_per_crop: A square number; 144 in the published models.
    """
    return (rows * columns + 1) * tokens_per_crop + 1 + (rows + 1) * math.isqrt(tokens_per_crop)


def fit(long_side: int, short_side: int, num_crops: int) -> tuple[int, int]:
    """Crops along the long side, and the short side in pixels after resizing (before padding).

    Raises:
        ImageError: as `hd_shape`.
    """
    ratio = long_side / short_side
    scale = 1
    while (scale + 1) * math.ceil((scale + 1) / ratio) <= num_crops:
        scale += 1
    resized = int(scale * CROP_SIZE / ratio)
    if resized == 0:
        raise ImageError(
            "too_thin",
            f"the picture's sides are {long_side} and {short_side} pixels: "
            f"resized for {num_crops} crops nothing is left of the short one",
        )
    return scale, resized
