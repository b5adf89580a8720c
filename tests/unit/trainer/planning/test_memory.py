"""Memory: activations against what autograd keeps on the real model, and the whole against measured runs."""

import pytest
import torch
from torch import Tensor

from phi3k_trainer.model import Phi3VConfig, Phi3VForCausalLM
from phi3k_trainer.planning import ModelShape
from phi3k_trainer.planning.flops import Sample
from phi3k_trainer.planning.memory import Batch, clip_layer_bytes, decoder_layer_bytes, largest_batch, peak_memory
from phi3k_trainer.recipe.model import TuningSection
from phi3k_trainer.tuning.adapters import adapter_config, attach_adapters
from phi3k_trainer.tuning.parameter_groups import select_trained

CPU_DROPOUT_MASK_BYTES = 4  # torch's CPU kernel keeps the mask in float32, CUDA's in bool


def config(num_layers: int, vision_layers: int) -> dict[str, object]:
    return {
        "model_type": "phi3_v",
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 320,
        "vision_config": {
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": vision_layers,
            "num_attention_heads": 4,
            "patch_size": 28,
        },
    }


def kept_bytes(num_layers: int, vision_layers: int, tokens: int, tuning: TuningSection, dtype: torch.dtype) -> int:
    """Bytes that autograd keeps for one pass of the real model, at the trainer's precisions, weights aside."""
    phi = Phi3VConfig(rope_scaling=None, pad_token_id=0, **config(num_layers, vision_layers))
    model = Phi3VForCausalLM(phi).to(dtype)
    adapters = adapter_config(tuning, vision_layers, "base")
    if adapters is not None:
        attach_adapters(model, adapters)
    select_trained(model, tuning)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    ids = torch.full((1, tokens), 7)
    ids[0, : phi.image_tokens(1, 2)] = -1
    labels = torch.full_like(ids, -100)
    labels[0, -4:] = 7
    pictures = {"image_crops": torch.zeros(3, 3, 336, 336), "image_sizes": torch.tensor([[336, 672]])}
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
    with autocast, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.token_loss(ids, labels, **pictures)
    return sum(tensor.untyped_storage().nbytes() for pointer, tensor in kept.items() if pointer not in weights)


TUNINGS = [
    TuningSection(method="full", vision="full", projector="full"),
    TuningSection(rank=4),
    TuningSection(rank=4, dropout=0.0),
    TuningSection(rank=4, targets=("qkv_proj",), vision="lora"),
    TuningSection(method="dora", rank=4),
]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("tuning", TUNINGS, ids=lambda t: f"{t.method}-{t.dropout}-{len(t.targets)}-{t.vision}")
def test_a_decoder_layer_keeps_what_the_formula_says(tuning: TuningSection, dtype: str) -> None:
    def layer(tokens: int) -> int:
        torch_dtype = getattr(torch, dtype)
        return kept_bytes(3, 2, tokens, tuning, torch_dtype) - kept_bytes(2, 2, tokens, tuning, torch_dtype)

    measured = (layer(512) - layer(256)) / 256  # of two lengths, so that what belongs to weights cancels out
    shape = ModelShape.from_config(config(3, 2))
    formula = decoder_layer_bytes(shape, tuning, dtype, dropout_mask_bytes=CPU_DROPOUT_MASK_BYTES)
    assert formula == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("vision", ["frozen", "lora", "full"])
def test_a_clip_layer_keeps_what_the_formula_says(vision: str, dtype: str) -> None:
    tuning = TuningSection.model_validate({"rank": 4, "vision": vision})
    torch_dtype = getattr(torch, dtype)
    layer = kept_bytes(1, 4, 256, tuning, torch_dtype) - kept_bytes(1, 3, 256, tuning, torch_dtype)
    shape = ModelShape.from_config(config(1, 4))
    casts = 2 * 96 * (4 * 96 + 2 * 256) if vision == "full" and dtype == "bfloat16" else 0
    measured = (layer - casts) / (3 * shape.vision.tokens)
    formula = clip_layer_bytes(shape, tuning, dtype, dropout_mask_bytes=CPU_DROPOUT_MASK_BYTES)
    assert formula == pytest.approx(measured, rel=0.05, abs=1)


def test_the_full_size_model_on_a_cpu_peaks_as_measured() -> None:
    """bfloat16, LoRA of rank 64, checkpointing, one sample of 805 tokens: 10.6-11.3 GB of resident memory."""
    batch = Batch(tokens=805, views=5, image_tokens=757, label_tokens=34)
    memory = peak_memory(ModelShape(), TuningSection(), batch, "bfloat16", activation_checkpointing=True)
    assert 10.6e9 * 0.93 < memory.total < 11.3e9 * 1.07


def test_sharding_divides_what_is_at_rest() -> None:
    tuning = TuningSection(method="full")
    batch = largest_batch(Sample(54, 757, 5, 34), 8192)
    alone = peak_memory(ModelShape(), tuning, batch, "bfloat16", activation_checkpointing=True)
    shared = peak_memory(ModelShape(), tuning, batch, "bfloat16", activation_checkpointing=True, shards=8)
    assert shared.optimizer == alone.optimizer // 8
    assert shared.weights == alone.weights // 8
    assert shared.activations == alone.activations


def test_checkpointing_trades_activations() -> None:
    batch = largest_batch(Sample(54, 757, 5, 34), 8192)
    plain = peak_memory(ModelShape(), TuningSection(), batch, "bfloat16", activation_checkpointing=False)
    again = peak_memory(ModelShape(), TuningSection(), batch, "bfloat16", activation_checkpointing=True)
    assert again.activations < plain.activations / 10


def test_qlora_holds_the_decoder_in_about_four_bits() -> None:
    batch = largest_batch(Sample(54, 757, 5, 34), 811)
    lora = peak_memory(ModelShape(), TuningSection(), batch, "bfloat16", activation_checkpointing=True)
    qlora = peak_memory(ModelShape(), TuningSection(method="qlora"), batch, "bfloat16", activation_checkpointing=True)
    assert lora.weights - qlora.weights == pytest.approx(3.6239e9 * (2 - 4.127 / 8), rel=1e-3)


def test_a_batch_holds_whole_samples_and_at_least_one() -> None:
    sample = Sample(54, 757, 5, 34)
    assert largest_batch(sample, 8192) == Batch(tokens=8192, views=50, image_tokens=7570, label_tokens=340)
    assert largest_batch(sample, 100) == Batch(tokens=811, views=5, image_tokens=757, label_tokens=34)
