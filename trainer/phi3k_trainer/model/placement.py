"""Where image features stand among the tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from phi3k_trainer.errors import DataError


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
    pictures_in_row = (-input_ids).clamp(min=0).amax(dim=1)
    first_in_row = pictures_in_row.cumsum(0) - pictures_in_row
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
