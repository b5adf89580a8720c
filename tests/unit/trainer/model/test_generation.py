"""Generation: with the cache, in batches, past the original window, ending at the stop tokens."""

import pytest
import torch

from phi3k_trainer.model import Phi3VConfig, Phi3VForCausalLM
from phi3k_trainer.model.generation import PictureGenerationMixin
from tests.unit.trainer.model.conftest import END_OF_TEXT, STOP, crops, places, small_model


def prompts(config: Phi3VConfig) -> list[list[int]]:
    """Two prompts of different lengths, the first with two pictures, the second with one."""
    return [
        [1, 5, *places(config, 2, (1, 1)), 6, *places(config, 1, (1, 2)), 7],
        [1, 8, *places(config, 1, (2, 1)), 9],
    ]


PICTURES = crops(0, (1, 2), (1, 1), (2, 1))
FIRST = {"image_crops": PICTURES["image_crops"][:5], "image_sizes": PICTURES["image_sizes"][:2]}
SECOND = {"image_crops": PICTURES["image_crops"][5:], "image_sizes": PICTURES["image_sizes"][2:]}


def generate(model: Phi3VForCausalLM, rows: list[list[int]], new_tokens: int = 6, **options: object) -> list[list[int]]:
    """Generated tokens for prompts padded on the left."""
    longest = max(map(len, rows))
    ids = torch.tensor([[END_OF_TEXT] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    settings: dict[str, object] = {"do_sample": False, "max_new_tokens": new_tokens, "min_new_tokens": new_tokens}
    generated = model.generate(input_ids=ids, attention_mask=mask, **settings | options)
    answers: list[list[int]] = generated[:, longest:].tolist()
    return answers


def greedy_without_cache(
    model: Phi3VForCausalLM, row: list[int], new_tokens: int, **pictures: torch.Tensor
) -> list[int]:
    ids = list(row)
    for _ in range(new_tokens):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False, **pictures).logits[0, -1]
        logits[[STOP, END_OF_TEXT]] = -torch.inf
        ids.append(int(logits.argmax()))
    return ids[len(row) :]


def test_generating_with_the_cache_gives_what_recomputing_everything_gives(model: Phi3VForCausalLM) -> None:
    row = prompts(model.config)[0]
    assert generate(model, [row], **FIRST) == [greedy_without_cache(model, row, 6, **FIRST)]


def test_a_left_padded_batch_gives_what_its_rows_give_alone(model: Phi3VForCausalLM) -> None:
    first, second = prompts(model.config)
    assert generate(model, [first, second], **PICTURES) == [
        *generate(model, [first], **FIRST),
        *generate(model, [second], **SECOND),
    ]


def runs_of_vision(model: Phi3VForCausalLM, rows: list[list[int]], **pictures: torch.Tensor) -> int:
    """How often the vision part runs while `rows` are answered."""
    calls: list[object] = []
    hook = model.model.vision_embed_tokens.register_forward_hook(lambda *call: calls.append(call))
    generate(model, rows, **pictures)
    hook.remove()
    return len(calls)


def test_pictures_are_embedded_once(model: Phi3VForCausalLM) -> None:
    assert runs_of_vision(model, prompts(model.config), **PICTURES) == 1
    assert runs_of_vision(model, [[1, 5, 6]]) == 0


def test_where_vision_always_runs_it_runs_once_whatever_the_rows_are() -> None:
    row = [1, 5, *places(small_model().config, 1, (2, 1)), 9]
    model = small_model(original_max_position_embeddings=len(row) + 2)
    expected = generate(model, [[1, 5, 6]])
    model.model.runs_vision_always = True
    assert runs_of_vision(model, [row], **SECOND) == 1, "though the cache starts over"
    assert runs_of_vision(model, [[1, 5, 6]]) == 1
    assert generate(model, [[1, 5, 6]]) == expected


def test_the_cache_starts_over_when_a_sequence_leaves_the_original_window() -> None:
    row = [1, 5, *places(small_model().config, 1, (2, 1)), 9]
    model = small_model(original_max_position_embeddings=len(row) + 2)
    expected = greedy_without_cache(model, row, 6, **SECOND)
    assert generate(model, [row], **SECOND) == [expected]
    always_short = small_model()
    always_short.model.rotary_emb.scale = model.model.rotary_emb.scale
    assert greedy_without_cache(always_short, row, 6, **SECOND) != expected, "the long factors make no difference here"


def test_padding_does_not_count_towards_the_original_window() -> None:
    model = small_model(original_max_position_embeddings=30)
    short, padding = [1, 5, 6], 28
    ids = torch.tensor([[END_OF_TEXT] * padding + short])
    mask = torch.tensor([[0] * padding + [1] * len(short)])
    padded = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=6, min_new_tokens=6)
    assert padded[0, -6:].tolist() == greedy_without_cache(model, short, 6)


@pytest.mark.parametrize("stop", [STOP, END_OF_TEXT])
def test_generation_ends_at_either_stop_token(model: Phi3VForCausalLM, stop: int) -> None:
    preferred = {"sequence_bias": [[[stop], 1000.0]], "min_new_tokens": 0}
    assert generate(model, [[1, 5, 6]], **preferred) == [[stop]]


@pytest.mark.parametrize("form", ["image_crops", "pixel_values"])
def test_beams_keep_each_row_with_its_pictures(model: Phi3VForCausalLM, form: str) -> None:
    first, second = prompts(model.config)
    pictures = dict(PICTURES)
    if form == "pixel_values":
        views = pictures.pop("image_crops").split([3, 2, 3])
        padded = torch.zeros(3, 3, 3, 336, 336)
        for stored, picture in zip(padded, views, strict=True):
            stored[: len(picture)] = picture
        pictures["pixel_values"] = padded
    together = generate(model, [first, second], num_beams=2, **pictures)
    assert together == [
        *generate(model, [first], num_beams=2, **FIRST),
        *generate(model, [second], num_beams=2, **SECOND),
    ]


def test_the_model_can_generate_as_transformers_sees_it() -> None:
    assert Phi3VForCausalLM.can_generate()
    assert issubclass(Phi3VForCausalLM, PictureGenerationMixin)
