"""Ours against what the published processor made of the golden pictures and prompts."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from phi3k_trainer.images.hd import hd_shape, hd_transform, views
from tests.golden.golden_inputs import PIXEL_TOLERANCE, arrays, golden, golden_image

PICTURES: list[dict[str, Any]] = golden()["processor"]


def _name(case: dict[str, Any]) -> str:
    return str(case["key"])


@pytest.mark.parametrize("case", PICTURES, ids=_name)
def test_views_have_the_published_pixels(case: dict[str, Any]) -> None:
    padded = hd_transform(Image.fromarray(golden_image(case["image"])), case["num_crops"])
    ours = views(torch.from_numpy(padded))
    published = torch.zeros(case["shape"][1:])  # the published processor fills up with zero crops
    published[: len(ours)] = ours
    recorded = arrays()
    sampled = published.flatten()[torch.from_numpy(recorded[case["key"] + "/index"])].numpy()
    np.testing.assert_allclose(sampled, recorded[case["key"] + "/value"], rtol=0, atol=PIXEL_TOLERANCE)
    assert published.double().mean().item() == pytest.approx(case["mean"], abs=1e-6)
    assert published.double().abs().mean().item() == pytest.approx(case["abs_mean"], abs=1e-6)


@pytest.mark.parametrize("case", PICTURES, ids=_name)
def test_padded_size_is_the_published_image_size(case: dict[str, Any]) -> None:
    padded = hd_transform(Image.fromarray(golden_image(case["image"])), case["num_crops"])
    assert list(padded.shape[:2]) == case["image_size"]


@pytest.mark.parametrize("case", PICTURES, ids=_name)
def test_grid_is_known_from_width_and_height_alone(case: dict[str, Any]) -> None:
    picture = golden()["images"][case["image"]]
    rows, columns = hd_shape(picture["width"], picture["height"], case["num_crops"])
    assert [rows * 336, columns * 336] == case["image_size"]
