"""A picture becomes crops: nothing is lost, moved or scaled twice."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from phi3k_trainer.images.errors import ImageError
from phi3k_trainer.images.grid import hd_shape
from phi3k_trainer.images.hd import IMAGE_MEAN, IMAGE_STD, hd_transform, views


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def denormalised(view: torch.Tensor) -> np.ndarray:
    """uint8 `[336, 336, 3]`."""
    std, mean = (torch.tensor(values).view(3, 1, 1) for values in (IMAGE_STD, IMAGE_MEAN))
    return ((view * std + mean) * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 900), st.integers(20, 900), st.integers(1, 9))
def test_the_padded_picture_has_the_size_of_its_grid(width: int, height: int, num_crops: int) -> None:
    padded = hd_transform(noise(width, height), num_crops)
    rows, columns = hd_shape(width, height, num_crops)
    assert padded.dtype == np.uint8
    assert padded.shape == (336 * rows, 336 * columns, 3)


def test_a_picture_of_one_crop_is_left_as_it_is() -> None:
    image = noise(336, 336)
    np.testing.assert_array_equal(hd_transform(image, 1), np.asarray(image))


def test_a_wide_picture_is_padded_white_above_and_below() -> None:
    padded = hd_transform(Image.new("RGB", (400, 100), "black"), 1)
    black = np.flatnonzero((padded == 0).all(axis=(1, 2)))
    white = np.flatnonzero((padded == 255).all(axis=(1, 2)))
    assert (black[0], len(black)) == (126, 84)
    assert len(white) == 336 - 84


def test_a_tall_picture_is_padded_white_left_and_right() -> None:
    padded = hd_transform(Image.new("RGB", (100, 400), "black"), 1)
    black = np.flatnonzero((padded == 0).all(axis=(0, 2)))
    assert (black[0], len(black)) == (126, 84)


def test_a_tall_picture_is_the_transposed_wide_one() -> None:
    wide = noise(500, 300)
    tall = wide.transpose(Image.Transpose.TRANSPOSE)
    np.testing.assert_array_equal(hd_transform(tall, 4), hd_transform(wide, 4).transpose(1, 0, 2))


def test_crops_follow_row_by_row_after_the_global_view() -> None:
    padded = np.zeros((672, 1008, 3), dtype=np.uint8)
    for number in range(6):
        row, column = divmod(number, 3)
        padded[336 * row : 336 * (row + 1), 336 * column : 336 * (column + 1)] = 40 * (number + 1)
    seen = views(torch.from_numpy(padded))
    assert seen.shape == (7, 3, 336, 336)
    assert [int(denormalised(view)[100, 100, 0]) for view in seen[1:]] == [40, 80, 120, 160, 200, 240]
    assert [int(denormalised(seen[0])[y, x, 0]) for y in (80, 250) for x in (50, 168, 280)] == [
        40,
        80,
        120,
        160,
        200,
        240,
    ]


def test_crops_give_back_every_byte() -> None:
    padded = hd_transform(noise(800, 600), 6)
    rows, columns = padded.shape[0] // 336, padded.shape[1] // 336
    crops = [denormalised(view) for view in views(torch.from_numpy(padded))[1:]]
    grid = np.vstack([np.hstack(crops[columns * row : columns * (row + 1)]) for row in range(rows)])
    np.testing.assert_array_equal(grid, padded)


def test_the_global_view_of_a_single_crop_is_that_crop() -> None:
    seen = views(torch.from_numpy(hd_transform(noise(300, 250), 1)))
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=1e-6)


def test_views_are_float32_and_leave_the_bytes_alone() -> None:
    padded = torch.from_numpy(hd_transform(noise(300, 250), 1))
    before = padded.clone()
    assert views(padded).dtype == torch.float32
    assert torch.equal(padded, before)


def test_views_stay_on_the_device_of_the_bytes() -> None:
    assert views(torch.empty(672, 336, 3, dtype=torch.uint8, device="meta")).shape == (3, 3, 336, 336)
    assert views(torch.empty(672, 336, 3, dtype=torch.uint8, device="meta")).device.type == "meta"


def test_a_picture_too_thin_is_refused() -> None:
    with pytest.raises(ImageError) as caught:
        hd_transform(Image.new("RGB", (2000, 3)), 1)
    assert caught.value.reason == "too_thin"
