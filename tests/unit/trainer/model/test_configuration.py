"""The configuration reads and writes the published form, and counts image tokens."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from phi3k_trainer.model import Phi3VConfig, Phi3VForCausalLM
from phi3k_trainer.model.loading import published_keys

SHARED = Path(os.environ.get("PHI3K_SHARED", Path(__file__).resolve().parents[5] / "shared"))
PUBLISHED = sorted(SHARED.glob("published/*/config.json"))
"""Microsoft's own files, which may not be copied: the tests of them exist where the files do."""

PUBLISHED_FORM: dict[str, Any] = {
    "model_type": "phi3_v",
    "auto_map": {"AutoConfig": "configuration_phi3_v.Phi3VConfig"},
    "_attn_implementation": "flash_attention_2",
    "eos_token_id": 2,
    "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096,
    "rope_scaling": {"type": "su", "short_factor": [1.5] * 48, "long_factor": [9.0] * 48},
    "rope_theta": 10000.0,
    "torch_dtype": "bfloat16",
}


def saved(config: Phi3VConfig, directory: Path) -> dict[str, Any]:
    config.save_pretrained(directory)
    content: dict[str, Any] = json.loads((directory / "config.json").read_text())
    return content


@pytest.mark.parametrize(
    ("grid", "tokens"), [((1, 1), 313), ((2, 2), 757), ((4, 4), 2509), ((1, 2), 457), ((2, 1), 469)]
)
def test_image_tokens_are_the_published_counts(grid: tuple[int, int], tokens: int) -> None:
    assert Phi3VConfig(**PUBLISHED_FORM).image_tokens(*grid) == tokens


def test_without_vision_config_the_tower_is_vit_l_14_at_336_pixels() -> None:
    clip = Phi3VConfig(**PUBLISHED_FORM).vision_config
    assert (clip.hidden_size, clip.num_hidden_layers, clip.patch_size, clip.image_size) == (1024, 24, 14, 336)
    assert clip.hidden_act == "quick_gelu"


def test_a_partial_vision_config_changes_only_what_it_names() -> None:
    clip = Phi3VConfig(**PUBLISHED_FORM, vision_config={"num_hidden_layers": 3}).vision_config
    assert (clip.num_hidden_layers, clip.hidden_size) == (3, 1024)


def test_the_wrong_published_end_of_text_becomes_the_stop_tokens() -> None:
    assert Phi3VConfig(**PUBLISHED_FORM).eos_token_id == [32007, 32000]


def test_pointers_to_remote_code_and_to_one_machines_kernels_are_dropped() -> None:
    config = Phi3VConfig(**PUBLISHED_FORM)
    assert not hasattr(config, "auto_map")
    assert config._attn_implementation is None


def test_building_a_configuration_leaves_the_given_mapping_alone() -> None:
    before = json.dumps(PUBLISHED_FORM)
    Phi3VConfig(**PUBLISHED_FORM)
    assert json.dumps(PUBLISHED_FORM) == before


def test_a_configuration_in_transformers_own_form_is_the_same() -> None:
    config = Phi3VConfig(**PUBLISHED_FORM)
    again = Phi3VConfig(**config.to_dict())
    assert again.rope_parameters == config.rope_parameters
    assert again.rope_parameters is not config.rope_parameters


def test_patches_that_cannot_be_merged_two_by_two_are_refused() -> None:
    with pytest.raises(ValueError, match="even multiple"):
        Phi3VConfig(**PUBLISHED_FORM, vision_config={"patch_size": 48})


def test_a_saved_configuration_has_the_published_form(tmp_path: Path) -> None:
    written = saved(Phi3VConfig(**PUBLISHED_FORM), tmp_path)
    assert written["rope_scaling"] == PUBLISHED_FORM["rope_scaling"]
    assert written["rope_theta"] == 10000.0
    assert written["torch_dtype"] == "bfloat16"
    assert not {"vision_config", "auto_map", "rope_parameters", "dtype"} & written.keys()


@pytest.mark.parametrize("vision", [{"num_hidden_layers": 12}, {"hidden_size": 768, "num_attention_heads": 12}])
def test_a_tower_that_equals_clips_defaults_survives_saving(vision: dict[str, int], tmp_path: Path) -> None:
    config = Phi3VConfig(**PUBLISHED_FORM, vision_config=vision)
    config.save_pretrained(tmp_path)
    read = AutoConfig.from_pretrained(tmp_path)
    assert type(read) is Phi3VConfig
    assert read.vision_config.to_dict() == config.vision_config.to_dict()


def test_a_model_without_rope_scaling_survives_saving(tmp_path: Path) -> None:
    config = Phi3VConfig(**{**PUBLISHED_FORM, "rope_scaling": None})
    assert saved(config, tmp_path)["rope_scaling"] is None
    assert AutoConfig.from_pretrained(tmp_path).rope_parameters == config.rope_parameters


def published_checkpoint_keys() -> set[str]:
    """The keys as the reference names them, written out."""
    tower = "model.vision_embed_tokens.img_processor.vision_model"
    keys = {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "lm_head.weight",
        f"{tower}.embeddings.class_embedding",
        f"{tower}.embeddings.patch_embedding.weight",
        f"{tower}.embeddings.position_embedding.weight",
        *(f"model.vision_embed_tokens.{name}" for name in ("glb_GN", "sub_GN")),
    }
    for language_layer in range(32):
        layer = f"model.layers.{language_layer}"
        keys |= {f"{layer}.self_attn.{name}.weight" for name in ("qkv_proj", "o_proj")}
        keys |= {f"{layer}.mlp.{name}.weight" for name in ("gate_up_proj", "down_proj")}
        keys |= {f"{layer}.{name}.weight" for name in ("input_layernorm", "post_attention_layernorm")}
    with_bias = [f"{tower}.pre_layrnorm", f"{tower}.post_layernorm"]
    with_bias += [f"model.vision_embed_tokens.img_projection.{index}" for index in (0, 2)]
    for vision_layer in range(24):
        layer = f"{tower}.encoder.layers.{vision_layer}"
        with_bias += [f"{layer}.self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")]
        with_bias += [f"{layer}.{name}" for name in ("mlp.fc1", "mlp.fc2", "layer_norm1", "layer_norm2")]
    return keys | {f"{module}.{name}" for module in with_bias for name in ("weight", "bias")}


def assert_full_size(config: Phi3VConfig) -> None:
    with torch.device("meta"):
        model = Phi3VForCausalLM(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_146_621_440
    assert published_keys(config).keys() == published_checkpoint_keys()


def test_the_full_size_model_has_the_published_parameters_and_keys() -> None:
    assert_full_size(Phi3VConfig(**PUBLISHED_FORM))


if PUBLISHED:

    @pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
    def test_the_published_configuration_builds_the_full_size_model(path: Path, tmp_path: Path) -> None:
        published = json.loads(path.read_text())
        config = Phi3VConfig(**published)
        assert_full_size(config)
        written = saved(config, tmp_path)
        changed = {key for key, value in published.items() if written.get(key) != value}
        assert changed <= {"_name_or_path", "_attn_implementation", "auto_map", "eos_token_id", "transformers_version"}
