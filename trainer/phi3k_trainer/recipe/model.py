"""Which model is tuned, and how: the sections `model` and `tuning`."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from phi3k_trainer.recipe.base import Section
from phi3k_trainer.remote.addresses import checked as checked_address
from phi3k_trainer.remote.addresses import is_address

Trained = Literal["frozen", "lora", "full"]
TINY = "tiny"
"""The `base` that is built here, of random weights."""
NF4_BLOCK = 64
"""Weights that share one scale under `qlora`, side by side in a row of a matrix."""


class TinySection(Section):
    """The size of the `tiny` model: random weights and a tokenizer trained on the data's own text."""

    hidden_size: int = Field(default=128, ge=16, multiple_of=8)
    """Width of the language model."""
    num_layers: int = Field(default=4, ge=1)
    """Layers of the language model."""
    vision_hidden_size: int = Field(default=128, ge=16, multiple_of=8)
    """Width of the CLIP tower."""
    vision_num_layers: int = Field(default=3, ge=2)
    """Layers of the CLIP tower, the unused last one included."""
    patch_size: Literal[14, 28, 42, 56, 84] = 28
    """Edge of a vision patch in pixels: 336 must be an even multiple of it."""
    vocabulary_size: int = Field(default=512, ge=300, le=32000)
    """Tokens the tokenizer learns, special tokens included."""


class ModelSection(Section):
    """The model that training starts from."""

    base: str = Field(min_length=1)
    """A hub id, a directory or address in the published layout, or `tiny` (random weights, for trying everything)."""
    revision: str | None = None
    """Commit of the hub repository; null takes the newest."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of the weights in the forward and backward pass."""
    num_crops: int = Field(default=4, ge=1, le=64)
    """At most this many 336-pixel crops a picture, in addition to its global view."""
    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"] = "auto"
    """Attention kernel; auto takes flash attention where it is installed and usable, else SDPA."""
    tiny: TinySection = TinySection()
    """The size of the model when `base` is `tiny`."""

    @model_validator(mode="after")
    def _revisions_are_of_the_hub(self) -> Self:
        if self.revision is not None and is_address(self.base):
            raise ValueError("revision is a commit of a hub repository: an address has none, remove model.revision")
        return self

    @field_validator("base")
    @classmethod
    def _base_can_be_read(cls, base: str) -> str | None:
        return checked_address(base)


class TuningSection(Section):
    """Which weights learn, and by which method."""

    method: Literal["full", "lora", "dora", "qlora"] = "lora"
    """How the language model learns; qlora needs widths that are multiples of 64."""
    rank: int = Field(default=64, ge=1)
    """Rank of the adapters."""
    alpha: float = Field(default=128.0, gt=0)
    """Scale of the adapters is alpha / rank."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Dropout in front of the adapters."""
    targets: tuple[Literal["qkv_proj", "o_proj", "gate_up_proj", "down_proj"], ...] = Field(
        default=("qkv_proj", "o_proj", "gate_up_proj", "down_proj"), min_length=1, strict=False
    )
    """Linear layers of the language model that get an adapter."""
    vision: Trained = "frozen"
    """How the CLIP tower learns."""
    projector: Trained = "frozen"
    """How the projector (with the learned separators) learns."""

    @model_validator(mode="after")
    def _adapters_need_an_adapter_method(self) -> Self:
        if self.method == "full" and "lora" in (self.vision, self.projector):
            raise ValueError("method 'full' trains no adapters: set vision and projector to 'frozen' or 'full'")
        return self
