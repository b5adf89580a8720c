"""The sizes of a Phi-3-Vision model: all that planning needs to know about it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3k_trainer.errors import DataError, MissingInputError, RecipeError
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.model import TINY


@dataclass(frozen=True)
class VisionShape:
    """The CLIP tower. The defaults are ViT-L/14 at 336 pixels (config.json of openai/clip-vit-large-patch14-336)."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_layers: int = 24
    """Stored layers; the last one is never run (phi3v.md: `hidden_states[-2]` is used)."""
    patch_size: int = 14
    image_size: int = 336

    @property
    def tokens(self) -> int:
        """Patches of one view and the class token: 577 for ViT-L/14-336."""
        return (self.image_size // self.patch_size) ** 2 + 1

    @property
    def merged_per_side(self) -> int:
        """Image tokens along one edge of a view, after merging 2 x 2 patches."""
        return self.image_size // self.patch_size // 2


@dataclass(frozen=True)
class ModelShape:
    """The whole model. The defaults are the two published checkpoints, which differ in RoPE factors only."""

    hidden_size: int = 3072
    intermediate_size: int = 8192
    num_layers: int = 32
    num_heads: int = 32
    num_key_value_heads: int = 32
    vocabulary_size: int = 32064
    vision: VisionShape = VisionShape()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ModelShape":
        """Read the shape from a config.json in the published layout; without `vision_config` it is ViT-L/14-336.

        Raises DataError when it is the config of another model or lacks a size.
        """
        if config.get("model_type") != "phi3_v":
            raise DataError(f"config.json has model_type {config.get('model_type')!r}: phi3k tunes 'phi3_v' models")
        clip = config.get("vision_config") or {}
        default = VisionShape()
        try:
            return cls(
                hidden_size=config["hidden_size"],
                intermediate_size=config["intermediate_size"],
                num_layers=config["num_hidden_layers"],
                num_heads=config["num_attention_heads"],
                num_key_value_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
                vocabulary_size=config["vocab_size"],
                vision=VisionShape(
                    hidden_size=clip.get("hidden_size", default.hidden_size),
                    intermediate_size=clip.get("intermediate_size", default.intermediate_size),
                    num_layers=clip.get("num_hidden_layers", default.num_layers),
                    patch_size=clip.get("patch_size", default.patch_size),
                    image_size=clip.get("image_size", default.image_size),
                ),
            )
        except KeyError as error:
            raise DataError(f"config.json has no {error}") from error

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def key_value_size(self) -> int:
        """Channels of the keys, and of the values, of all heads."""
        return self.num_key_value_heads * self.head_dim


PUBLISHED: Mapping[str, ModelShape] = {
    "microsoft/Phi-3-vision-128k-instruct": ModelShape(),
    "microsoft/Phi-3.5-vision-instruct": ModelShape(),
}
"""The published checkpoints (their config.json), so that planning them needs no download."""


def shape_of(recipe: Recipe) -> ModelShape:
    """The shape of the recipe's base model, without a download.

    Raises RecipeError for a hub id whose size isn't known here, MissingInputError or DataError for a directory
    without a readable config.json.
    """
    base = recipe.model.base
    if base == TINY:
        return tiny_shape(recipe)
    if base in PUBLISHED:
        return PUBLISHED[base]
    directory = Path(base).expanduser()
    if not directory.is_dir():
        raise RecipeError(
            f"model.base: the size of '{base}' is not known without a download, and there is no such directory; "
            f"known are {', '.join(PUBLISHED)} and tiny. Download it and give its directory."
        )
    file = directory / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingInputError(
            f"cannot read {file}: {error.strerror}; model.base should be a model's directory"
        ) from error
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {error}") from error
    return ModelShape.from_config(config)


def tiny_shape(recipe: Recipe) -> ModelShape:
    """The shape of the `tiny` model that a recipe asks for, as `phi3k_trainer.model.tiny` builds it."""
    tiny = recipe.model.tiny
    heads = tiny.hidden_size // math.gcd(tiny.hidden_size, 32)
    return ModelShape(
        hidden_size=tiny.hidden_size,
        intermediate_size=2 * tiny.hidden_size,
        num_layers=tiny.num_layers,
        num_heads=heads,
        num_key_value_heads=heads,
        vocabulary_size=tiny.vocabulary_size,
        vision=VisionShape(
            hidden_size=tiny.vision_hidden_size,
            intermediate_size=2 * tiny.vision_hidden_size,
            num_layers=tiny.vision_num_layers,
            patch_size=tiny.patch_size,
        ),
    )
