"""The model computes what the published code computed: logits, loss, gradients, greedy tokens, long RoPE."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from phi3k_trainer.images.hd import hd_transform, views
from phi3k_trainer.model import Phi3VConfig, Phi3VForCausalLM
from tests.golden.golden_inputs import (
    EMBEDDING_ALIAS,
    GRADIENT_NORM_RELATIVE_TOLERANCE,
    LOGIT_TOLERANCE,
    LOSS_TOLERANCE,
    arrays,
    golden,
    golden_config,
    golden_image,
    golden_weights,
)

RECORDED = {recorded["prompt"]: recorded for recorded in golden()["model"]}
ROUNDING_NOISE = 1e-8
"""A bias on attention keys shifts all scores of a query alike: its exact gradient is 0, the recorded one is noise."""
PROMPTS = {prompt["name"]: prompt for prompt in golden()["prompts"]}


def build(**overrides: Any) -> Phi3VForCausalLM:
    model = Phi3VForCausalLM(Phi3VConfig(**golden_config(**overrides)))
    weights = {key: torch.from_numpy(value) for key, value in golden_weights().items()}
    model.load_state_dict(weights, strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Phi3VForCausalLM:
    return build()


@pytest.fixture(autouse=True)
def without_gradients_of_the_test_before(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "model" in request.fixturenames:
        request.getfixturevalue("model").zero_grad()


def pictures(name: str) -> dict[str, torch.Tensor]:
    """The pictures of a prompt in the published form, padded with zero crops to the number allowed and one."""
    prompt = PROMPTS[name]
    padded = [
        torch.from_numpy(hd_transform(Image.fromarray(golden_image(i)), prompt["num_crops"])) for i in prompt["images"]
    ]
    if not padded:
        return {}
    pixel_values = torch.zeros(len(padded), prompt["num_crops"] + 1, 3, 336, 336)
    for stored, picture in zip(pixel_values, padded, strict=True):
        crops = views(picture)
        stored[: len(crops)] = crops
    return {"pixel_values": pixel_values, "image_sizes": torch.tensor([picture.shape[:2] for picture in padded])}


def with_answer(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompt and answer as input ids, and labels on the answer only."""
    ids = torch.tensor([PROMPTS[name]["input_ids"] + RECORDED[name]["answer_ids"]])
    labels = ids.clone()
    labels[:, : len(PROMPTS[name]["input_ids"])] = -100
    return ids, labels


def assert_logits(logits: torch.Tensor, key: str) -> None:
    sampled = logits.detach().flatten().numpy()[arrays()[f"{key}/index"]]
    np.testing.assert_allclose(sampled, arrays()[f"{key}/value"], atol=LOGIT_TOLERANCE, rtol=0)


def test_the_state_dict_has_the_published_keys_and_shapes(model: Phi3VForCausalLM) -> None:
    published = {key: tuple(shape) for key, shape in golden()["state_dict"].items() if key != EMBEDDING_ALIAS}
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == published


@pytest.mark.parametrize("name", RECORDED)
def test_logits_loss_and_gradient_norms_match_the_published_code(model: Phi3VForCausalLM, name: str) -> None:
    ids, labels = with_answer(name)
    output = model(input_ids=ids, labels=labels, **pictures(name))
    output.loss.backward()

    assert list(output.logits.shape) == RECORDED[name]["logits_shape"]
    assert_logits(output.logits, f"model/{name}/logits")
    assert abs(output.loss.item() - RECORDED[name]["loss"]) < LOSS_TOLERANCE
    norms = {
        key: parameter.grad.norm().item() for key, parameter in model.named_parameters() if parameter.grad is not None
    }
    assert norms == pytest.approx(RECORDED[name]["grad_norm"], rel=GRADIENT_NORM_RELATIVE_TOLERANCE, abs=ROUNDING_NOISE)


@pytest.mark.parametrize("name", RECORDED)
def test_greedy_generation_with_the_cache_matches_the_published_code(model: Phi3VForCausalLM, name: str) -> None:
    ids = torch.tensor([PROMPTS[name]["input_ids"]])
    generated = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=8,
        min_new_tokens=8,
        **pictures(name),
    )
    assert generated[0, ids.shape[1] :].tolist() == RECORDED[name]["greedy_8"]


def test_the_long_rope_factors_apply_past_the_original_window() -> None:
    recorded = golden()["long"]
    name = recorded["prompt"]
    model = build(**recorded["config_override"])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([PROMPTS[name]["input_ids"]]), **pictures(name)).logits
    assert list(logits.shape) == recorded["logits_shape"]
    assert_logits(logits, "long/logits")
