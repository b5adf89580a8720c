"""Where pictures stand among the tokens, and how large they are."""

from collections.abc import Sequence

import torch
from torch import Tensor

from phi3k_trainer.errors import DataError

Grid = tuple[int, int]
"""Rows and columns of crops of one picture."""


def crop_grids(image_sizes: Tensor, crop_size: int) -> list[Grid]:
    """Rows and columns of crops of each picture.

    Args:
        image_sizes: `[pictures, 2]`, height and width of the padded pictures in pixels.
        crop_size: Edge of a crop in pixels.

    Raises:
        DataError: A size is not a multiple of `crop_size`.
    """
    sizes: list[list[int]] = image_sizes.tolist()
    for height, width in sizes:
        if min(height, width) < crop_size or height % crop_size or width % crop_size:
            raise DataError(f"an image size of {height} x {width} pixels is not a multiple of {crop_size}")
    return [(height // crop_size, width // crop_size) for height, width in sizes]


def pictures_in_rows(input_ids: Tensor) -> Tensor:
    """The number of pictures in each row, int64 `[B]`: the highest number among its placeholders."""
    return (-input_ids).clamp(min=0).amax(dim=1)


def image_positions(input_ids: Tensor, image_tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Find the places of the image features.

    In `input_ids` the placeholder -i stands for one token of picture i, counted from 1 in each row. Pictures may
    stand in any order in a row; the features of all rows are concatenated row after row, picture 1 first.

    Args:
        input_ids: int64 `[B, T]`.
        image_tokens: Tokens of each picture, in the order of the features.

    Returns:
        Row and column (each int64 `[sum(image_tokens)]`) of each feature.

    Raises:
        DataError: A picture without placeholders, placeholders without a picture, or a wrong number of them.
    """
    rows, columns = (input_ids < 0).nonzero(as_tuple=True)
    in_rows = pictures_in_rows(input_ids)
    first_in_row = in_rows.cumsum(0) - in_rows
    picture = first_in_row[rows] - input_ids[rows, columns] - 1
    found: list[int] = torch.bincount(picture, minlength=len(image_tokens)).tolist()
    if found != list(image_tokens):
        raise DataError(
            f"the text has places for {len([count for count in found if count])} pictures of {found} tokens, but there"
            f" are {len(image_tokens)} pictures of {list(image_tokens)} tokens: each picture needs its tag and each"
            " tag its picture"
        )
    order = picture.argsort(stable=True)
    return rows[order], columns[order]
