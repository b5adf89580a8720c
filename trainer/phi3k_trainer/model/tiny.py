"""The `tiny` model: Phi-3-Vision's architecture at about a millionth of its size, to try everything with.

Random weights and a tokenizer trained on the data's own text, in the published layout: all else is the same path as
for a published model.
"""

import hashlib
import math
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.models.phi3.modeling_phi3 import Phi3DecoderLayer

from phi3k_trainer.directories import new_directory
from phi3k_trainer.errors import OutputError, StorageError
from phi3k_trainer.files import read_json, write_json
from phi3k_trainer.model.configuration import Phi3VConfig
from phi3k_trainer.model.loading import save_model
from phi3k_trainer.model.modeling import Phi3VForCausalLM
from phi3k_trainer.model.processor import Phi3VImageProcessor, Phi3VProcessor
from phi3k_trainer.prompts.encoding import SpecialTokens
from phi3k_trainer.prompts.vocabulary import train_tokenizer
from phi3k_trainer.recipe.model import TinySection

HEAD_DIM = 32
MARKER = "tiny.json"
"""Says what the model in a directory was built from; written last."""
FORMAT = 1
"""Part of the marker: raise it when the same section and texts would give other weights."""


def tiny_config(section: TinySection, tokenizer: PreTrainedTokenizerFast) -> Phi3VConfig:
    """The configuration of a tiny model for this tokenizer.

    Heads have 32 channels (fewer where the width isn't a multiple of that), MLPs twice the width, and the original
    RoPE window is the published one, with factors of 1.
    """
    special = SpecialTokens.from_tokenizer(tokenizer)
    head_dim = math.gcd(section.hidden_size, HEAD_DIM)
    ones = [1.0] * (head_dim // 2)
    return Phi3VConfig(
        vocab_size=len(tokenizer),
        hidden_size=section.hidden_size,
        intermediate_size=2 * section.hidden_size,
        num_hidden_layers=section.num_layers,
        num_attention_heads=section.hidden_size // head_dim,
        rope_scaling={"type": "su", "short_factor": ones, "long_factor": list(ones)},
        bos_token_id=special.bos,
        eos_token_id=list(special.stop),
        pad_token_id=special.pad,
        initializer_range=section.hidden_size**-0.5,
        vision_config={
            "hidden_size": section.vision_hidden_size,
            "intermediate_size": 2 * section.vision_hidden_size,
            "num_hidden_layers": section.vision_num_layers,
            "num_attention_heads": section.vision_hidden_size // math.gcd(section.vision_hidden_size, HEAD_DIM),
            "patch_size": section.patch_size,
        },
    )


def build_tiny(section: TinySection, texts: Iterable[str], seed: int, directory: Path) -> Path:
    """Write a tiny model with its tokenizer and processor files to `directory`, unless it holds that very model.

    Args:
        section: The sizes.
        texts: What the tokenizer is trained on: the words of the prompts and answers.
        seed: Of the weights.
        directory: Created if there is none.

    Returns:
        `directory`.

    Raises:
        OutputError: The directory holds something else.
        StorageError: It can't be written.
    """
    words = sorted(texts)
    digest = hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()
    built_from = {"format": FORMAT, "tiny": section.model_dump(mode="json"), "seed": seed, "texts_sha256": digest}
    if (directory / MARKER).is_file() and read_json(directory / MARKER) == built_from:
        return directory
    if directory.exists() and any(directory.iterdir()) and not (directory / MARKER).is_file():
        raise OutputError(f"{directory} holds something other than a tiny model: name another directory")
    try:
        with new_directory(directory) as unfinished:
            _write(section, words, seed, unfinished)
            write_json(unfinished / MARKER, built_from)
            shutil.rmtree(directory, ignore_errors=True)
    except OSError as problem:
        raise StorageError(f"the tiny model can't be written to {directory}: {problem}") from problem
    return directory


def _write(section: TinySection, texts: list[str], seed: int, directory: Path) -> None:
    tokenizer = train_tokenizer(texts, section.vocabulary_size)
    config = tiny_config(section, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Phi3VForCausalLM(config)
        initialise(model)
    save_model(model, directory)
    image_processor = Phi3VImageProcessor(num_crops=1, num_img_tokens=config.tokens_per_crop)
    Phi3VProcessor(image_processor, tokenizer).save_pretrained(directory)


@torch.no_grad()
def initialise(model: Phi3VForCausalLM) -> None:
    """Draw weights with which a small model learns fast from nothing.

    Matrices have the standard deviation 1 / sqrt(inputs), so that every layer keeps the scale of what it gets; the last
    one of each residual branch is divided by sqrt(branches), so that depth doesn't add up (GPT-2's rule).
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.weight.normal_(std=module.weight[0].numel() ** -0.5)
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(std=0.02)
    tower = model.model.vision_embed_tokens.img_processor.vision_model
    for stack in (model.model.layers, tower.encoder.layers):
        for layer in stack:
            for last in _branch_ends(layer):
                last.weight.div_(math.sqrt(2 * len(stack)))


def _branch_ends(layer: nn.Module) -> tuple[nn.Linear, nn.Linear]:
    if isinstance(layer, Phi3DecoderLayer):
        return layer.self_attn.o_proj, layer.mlp.down_proj
    assert isinstance(layer, CLIPEncoderLayer)
    return layer.self_attn.out_proj, layer.mlp.fc2
