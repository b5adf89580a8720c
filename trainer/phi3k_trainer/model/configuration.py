"""The configuration of Phi-3-Vision, read from and written to the published `config.json`."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, CLIPVisionConfig, Phi3Config
from transformers.configuration_utils import SubConfigSpec

from phi3k_trainer.images.grid import image_tokens

CLIP_VIT_L_14_336: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "projection_dim": 768,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_channels": 3,
    "image_size": 336,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "attention_dropout": 0.0,
}
"""The vision tower of both published checkpoints (config.json of openai/clip-vit-large-patch14-336)."""

PUBLISHED_STOP_TOKENS = (32007, 32000)
"""`<|end|>` and `<|endoftext|>` in the published tokenizers."""

PUBLISHED_WRONG_EOS = 2
"""`</s>`: what the published configs name as end of text, though no training text ever ends in it."""

_NOT_CONFIGURATION = ("auto_map", "_attn_implementation", "_name_or_path")
"""Keys of the published `config.json` that point at remote code or at one machine's kernels."""


@strict
class Phi3VConfig(Phi3Config):  # type: ignore[misc]  # transformers isn't typed for strict checks
    """Phi-3's settings and, under `vision_config`, those of the CLIP tower.

    `Phi3VConfig(**published_json)` is a published model. `vision_config` may be left out (ViT-L/14 at 336
    pixels), or may name only what differs from that.

    Raises:
        ValueError: The vision tower's patches can't be merged two by two, or a RoPE factor list has the
            wrong length. (`phi3k_trainer.model.loading` turns it into a message for users.)
    """

    model_type = "phi3_v"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": SubConfigSpec(config_class=CLIPVisionConfig, init_kwargs=CLIP_VIT_L_14_336)
    }

    max_position_embeddings: int = 131072
    rope_parameters: Any = None  # a mapping once constructed
    eos_token_id: int | list[int] | None = PUBLISHED_STOP_TOKENS[1]
    vision_config: Any = None  # a mapping when given, a CLIPVisionConfig once constructed
    img_processor: dict[str, Any] | None = None
    embd_layer: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in the vision tower and correct what the published files get wrong."""
        for key in _NOT_CONFIGURATION:
            kwargs.pop(key, None)
        if isinstance(self.vision_config, dict):
            self.vision_config = {**CLIP_VIT_L_14_336, **self.vision_config}
        if kwargs.get("rope_scaling") is not None:
            # A copy, since transformers writes into it. It asks for the window here, and without the factor it warns.
            window = self.original_max_position_embeddings
            stretch = self.max_position_embeddings / window
            kwargs["rope_scaling"] = {
                "factor": stretch,
                "original_max_position_embeddings": window,
                **kwargs["rope_scaling"],
            }
        if self.rope_parameters is not None:
            self.rope_parameters = dict(self.rope_parameters)
        super().__post_init__(**kwargs)
        if self.eos_token_id == PUBLISHED_WRONG_EOS and self.vocab_size > max(PUBLISHED_STOP_TOKENS):
            self.eos_token_id = list(PUBLISHED_STOP_TOKENS)
        clip = self.vision_config
        if clip.image_size % (2 * clip.patch_size):
            raise ValueError(
                f"vision_config: image_size {clip.image_size} is not an even multiple of patch_size {clip.patch_size},"
                " so its patches can't be merged two by two"
            )

    @property
    def has_published_tower(self) -> bool:
        """Whether the vision tower has the sizes of the published models."""
        return all(getattr(self.vision_config, key) == value for key, value in CLIP_VIT_L_14_336.items())

    @property
    def patches_per_side(self) -> int:
        """Patches along one edge of a crop: 24 in the published models."""
        clip = self.vision_config
        return int(clip.image_size // clip.patch_size)

    @property
    def merged_per_side(self) -> int:
        """Image tokens along one edge of a crop, after merging 2 x 2 patches: 12 in the published models."""
        return self.patches_per_side // 2

    @property
    def tokens_per_crop(self) -> int:
        """Image tokens of one crop without separators: 144 in the published models."""
        return self.merged_per_side**2

    @property
    def merged_size(self) -> int:
        """Channels of a merged 2 x 2 square of patches, the projector's input: 4096 in the published models."""
        return 4 * int(self.vision_config.hidden_size)

    def image_tokens(self, h_crops: int, w_crops: int) -> int:
        """Tokens of one picture of `h_crops` x `w_crops` crops, separators included."""
        return image_tokens(h_crops, w_crops, self.tokens_per_crop)

    def to_diff_dict(self) -> dict[str, Any]:
        """The published form, which `save_pretrained` writes: `rope_scaling` of type `su`, `torch_dtype`.

        `vision_config` stands there only where the tower isn't the published one.
        """
        written: dict[str, Any] = super().to_diff_dict()
        rope = dict(self.rope_parameters)
        written.pop("rope_parameters", None)
        written["rope_theta"] = rope["rope_theta"]
        written["rope_scaling"] = (
            {"type": "su", "short_factor": rope["short_factor"], "long_factor": rope["long_factor"]}
            if rope["rope_type"] == "longrope"
            else None
        )
        if "dtype" in written:
            written["torch_dtype"] = written.pop("dtype")
        if self.has_published_tower:
            written.pop("vision_config", None)
        else:
            written["vision_config"] = {key: getattr(self.vision_config, key) for key in CLIP_VIT_L_14_336}
        return written


AutoConfig.register("phi3_v", Phi3VConfig)
