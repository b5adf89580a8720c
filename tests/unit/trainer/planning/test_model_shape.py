"""The shape of a model, from configs, recipes and directories."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from phi3k_trainer.errors import DataError, MissingInputError, RecipeError
from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.model.tiny import tiny_config
from phi3k_trainer.planning import ModelShape, VisionShape, parameters, shape_of
from phi3k_trainer.prompts.vocabulary import train_tokenizer
from phi3k_trainer.recipe import Recipe, parse_recipe

PUBLISHED_CONFIG = {
    "model_type": "phi3_v",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32064,
}
"""The sizes in the config.json of both published checkpoints."""

SHARED = Path(os.environ.get("PHI3K_SHARED", Path(__file__).parents[5] / "shared"))


def recipe(base: str) -> Recipe:
    return parse_recipe(
        f"apiVersion: phi3k/v1\nname: a\nmodel: {{base: '{base}'}}\ndata: {{source: sample, answer: 'x'}}"
    )


def test_a_config_without_a_vision_config_has_the_published_tower() -> None:
    assert ModelShape.from_config(PUBLISHED_CONFIG) == ModelShape()


def test_a_vision_config_says_what_differs_from_the_published_tower() -> None:
    shape = ModelShape.from_config({**PUBLISHED_CONFIG, "vision_config": {"hidden_size": 128, "patch_size": 28}})
    assert shape.vision == VisionShape(hidden_size=128, patch_size=28)
    assert (shape.vision.tokens, shape.vision.merged_per_side) == (145, 6)


# Microsoft's files are not part of the repository: whichever are there are checked.
@pytest.mark.parametrize("config", sorted(SHARED.glob("published/*/config.json")), ids=lambda path: path.parent.name)
def test_the_published_configs_have_the_published_shape(config: Path) -> None:
    assert ModelShape.from_config(json.loads(config.read_text())) == ModelShape()


def test_the_config_of_another_model_is_refused() -> None:
    with pytest.raises(DataError, match="model_type 'llama'"):
        ModelShape.from_config({**PUBLISHED_CONFIG, "model_type": "llama"})


def test_a_config_without_a_size_names_it() -> None:
    with pytest.raises(DataError, match="no 'intermediate_size'"):
        ModelShape.from_config({key: value for key, value in PUBLISHED_CONFIG.items() if key != "intermediate_size"})


@pytest.mark.parametrize("base", ["microsoft/Phi-3-vision-128k-instruct", "microsoft/Phi-3.5-vision-instruct"])
def test_the_published_models_are_known_without_a_download(base: str) -> None:
    assert shape_of(recipe(base)) == ModelShape()


def test_a_directory_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**PUBLISHED_CONFIG, "num_hidden_layers": 2}))
    assert shape_of(recipe(str(tmp_path))).num_layers == 2


def test_an_unknown_hub_id_is_refused_with_the_way_out() -> None:
    with pytest.raises(RecipeError, match="Download it and give its directory"):
        shape_of(recipe("someone/else"))


def test_a_directory_without_a_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"config\.json"):
        shape_of(recipe(str(tmp_path)))


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        shape_of(recipe(str(tmp_path)))


@pytest.mark.parametrize("hidden_size", [64, 136])
def test_the_tiny_model_is_planned_as_it_is_built(hidden_size: int) -> None:
    tiny = parse_recipe(
        f"apiVersion: phi3k/v1\nname: a\nmodel: {{base: tiny, tiny: {{hidden_size: {hidden_size}}}}}\n"
        "data: {source: sample, answer: x}"
    )
    tokenizer = train_tokenizer([" ".join(f"w{i} v{i * 7}" for i in range(2000))], tiny.model.tiny.vocabulary_size)
    built = tiny_config(tiny.model.tiny, tokenizer)
    planned = replace(shape_of(tiny), vocabulary_size=built.vocab_size)  # little text fills no vocabulary
    assert planned.num_heads == built.num_attention_heads
    with torch.device("meta"):
        model = Phi3VForCausalLM(built)
    assert parameters(planned).total == sum(weight.numel() for weight in model.parameters())
