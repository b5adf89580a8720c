"""A tiny model in the published layout, made once."""

from pathlib import Path

import pytest

from phi3k_trainer.model.tiny import build_tiny
from phi3k_trainer.recipe import Recipe, parse_recipe
from phi3k_trainer.recipe.model import TinySection

SECTION = TinySection(
    hidden_size=64, num_layers=2, vision_hidden_size=32, vision_num_layers=3, patch_size=84, vocabulary_size=300
)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(SECTION, ["What colour?", "It is green."], 0, tmp_path_factory.mktemp("base"))


def recipe_with(base: Path, *overrides: str) -> Recipe:
    return parse_recipe(
        f"""
apiVersion: phi3k/v1
name: unit
model: {{base: {base}, dtype: float32}}
data: {{source: sample, image: imageurl, answer: "Product: {{title}}"}}
""",
        overrides=overrides,
    )
