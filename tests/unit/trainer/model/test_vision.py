"""The vision part: what the tower computes, what it leaves out, and the layout of the result."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from phi3k_trainer.model import Phi3VForCausalLM
from tests.unit.trainer.model.conftest import crops, small_model

GRIDS = st.lists(st.tuples(st.integers(1, 2), st.integers(1, 3)), min_size=1, max_size=2)


@contextmanager
def views_seen(model: Phi3VForCausalLM) -> Iterator[list[int]]:
    """How many views the tower was given, call after call."""
    seen: list[int] = []
    tower = model.model.vision_embed_tokens.img_processor.vision_model
    hook = tower.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    yield seen
    hook.remove()


def embed(model: Phi3VForCausalLM, image_crops: torch.Tensor, grids: list[tuple[int, int]]) -> torch.Tensor:
    with torch.no_grad():
        features: torch.Tensor = model.model.vision_embed_tokens(image_crops, grids)
    return features


@settings(max_examples=10, deadline=None)
@given(GRIDS)
def test_each_picture_takes_the_counted_tokens_and_does_not_depend_on_the_others(grids: list[tuple[int, int]]) -> None:
    model = small_model()
    pictures = [crops(index, grid)["image_crops"] for index, grid in enumerate(grids)]
    together = embed(model, torch.cat(pictures), grids)
    alone = [embed(model, picture, [grid]) for picture, grid in zip(pictures, grids, strict=True)]
    assert [len(features) for features in alone] == [model.config.image_tokens(h, w) for h, w in grids]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_crops_come_first_row_by_row_across_the_picture_then_the_global_view(model: Phi3VForCausalLM) -> None:
    grid, side = (2, 3), model.config.merged_per_side
    picture = crops(0, grid)["image_crops"]
    before = embed(model, picture, [grid])
    for view in range(7):
        changed = picture.clone()
        changed[view] += 1.0
        moved = (embed(model, changed, [grid]) - before).abs().amax(dim=1) > 1e-6
        places = torch.zeros(2 * side, 3 * side + 1, dtype=torch.bool)
        separator_and_global = torch.zeros(1 + side * (side + 1), dtype=torch.bool)
        if view:
            row, column = divmod(view - 1, 3)
            places[row * side : (row + 1) * side, column * side : (column + 1) * side] = True
        else:
            separator_and_global[1:].view(side, side + 1)[:, :side] = True
        assert moved.tolist() == [*places.flatten().tolist(), *separator_and_global.tolist()]


def test_the_tower_sees_a_picture_of_one_crop_once(model: Phi3VForCausalLM) -> None:
    with views_seen(model) as seen:
        embed(model, crops(0, (1, 1), (1, 2), (1, 1))["image_crops"], [(1, 1), (1, 2), (1, 1)])
    assert seen == [1 + 3 + 1]


def test_seeing_a_picture_once_changes_nothing(model: Phi3VForCausalLM) -> None:
    picture = crops(0, (1, 1))["image_crops"]
    # The smallest change that makes the two views differ: both go through the tower.
    twice = picture.clone()
    twice[1, 0, 0, 0] += 1e-6
    with views_seen(model) as seen:
        both = embed(model, twice, [(1, 1)])
    assert seen == [2]
    torch.testing.assert_close(embed(model, picture, [(1, 1)]), both, atol=1e-4, rtol=1e-4)


def test_different_views_of_a_single_crop_both_count(model: Phi3VForCausalLM) -> None:
    picture = crops(0, (1, 1))["image_crops"].clone()
    picture[1] = 0.0
    features = embed(model, picture, [(1, 1)])
    side = model.config.merged_per_side
    assert not torch.allclose(features[0], features[side * (side + 1) + 1])


def unused(model: Phi3VForCausalLM) -> tuple[nn.Module, ...]:
    modules: tuple[nn.Module, ...] = model.model.vision_embed_tokens.img_processor.vision_model.unused_modules()
    return modules


def test_the_last_clip_layer_and_post_layernorm_are_not_computed() -> None:
    model = small_model()
    with torch.no_grad():
        for module in unused(model):
            for parameter in module.parameters():
                parameter.fill_(float("nan"))
    assert embed(model, crops(0, (1, 2))["image_crops"], [(1, 2)]).isfinite().all()


def test_every_weight_but_the_18_unused_ones_gets_a_gradient() -> None:
    model = small_model()
    features = model.model.vision_embed_tokens(crops(0, (2, 1))["image_crops"], [(2, 1)])
    features.square().sum().backward()
    without = {name for name, p in model.model.vision_embed_tokens.named_parameters() if p.grad is None}
    assert len(without) == 18
    assert len(without) == sum(1 for module in unused(model) for _ in module.parameters())
    assert not any(p.requires_grad for module in unused(model) for p in module.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_crops_of_another_dtype_are_taken(dtype: torch.dtype) -> None:
    model = small_model().to(dtype)
    features = embed(model, crops(0, (1, 1))["image_crops"], [(1, 1)])
    assert features.dtype == dtype
