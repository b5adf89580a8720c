"""QLoRA's frozen weights: the language model's linear layers in 4-bit NormalFloat, through bitsandbytes."""

import torch
from torch import nn

from phi3k_trainer.errors import RecipeError, UnavailableError
from phi3k_trainer.model import Phi3VConfig
from phi3k_trainer.recipe.model import NF4_BLOCK


def check_bitsandbytes(device: torch.device) -> None:
    """Raise UnavailableError unless bitsandbytes is there and quantises and restores a matrix on `device`."""
    try:
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        sample = torch.linspace(-1, 1, 64 * 64, device=device).reshape(64, 64)
        restored = dequantize_4bit(*quantize_4bit(sample, quant_type="nf4"))
        error = (restored - sample).abs().max().item()
    except Exception as problem:  # a missing or foreign native library shows in many ways
        raise UnavailableError(
            f"tuning.method 'qlora' needs bitsandbytes, which does not run here on {device}: {problem}. "
            "Install a build for this machine, or set tuning.method to 'lora'"
        ) from problem
    if error > 0.2:  # NF4's widest gap between levels is 0.304, so rounding is off by 0.152 at most
        raise UnavailableError(
            f"tuning.method 'qlora' needs bitsandbytes, whose 4-bit numbers are wrong on {device} "
            f"(off by {error:.2f}). Install another build, or set tuning.method to 'lora'"
        )


def check_sizes(config: Phi3VConfig) -> None:
    """Raise RecipeError where the rows of the decoder's matrices are not whole blocks of NF4.

    bitsandbytes' kernels for CPUs restore other weights there (0.50.2: off by the largest of a block).
    """
    for name in ("hidden_size", "intermediate_size"):
        if getattr(config, name) % NF4_BLOCK:
            raise RecipeError(
                f"tuning.method 'qlora' rounds blocks of {NF4_BLOCK} weights, and the model's {name} is"
                f" {getattr(config, name)}, not a multiple of that: set tuning.method to 'lora'"
            )


def quantize_language_model(model: nn.Module, compute_dtype: torch.dtype, device: torch.device) -> None:
    """Replace each linear layer inside the decoder's layers by a 4-bit one on `device` (NF4, double quantisation).

    Quantises layer by layer, so the device never holds more than one of them in full. The layers compute the same with
    and without gradients: on CPUs with AVX512-BF16 bitsandbytes would else repack the weights for inference, for good,
    at the first forward pass of an evaluation.
    """
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or not name.startswith("model.layers."):
            continue
        quantized = Linear4bit(  # type: ignore[no-untyped-call]
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=compute_dtype,
            quant_type="nf4",
            device="meta",
        )
        weight = Params4bit(
            module.weight.data.to(compute_dtype),
            requires_grad=False,
            quant_type="nf4",
            blocksize=NF4_BLOCK,
            compress_statistics=True,
            module=quantized,
        )
        quantized.weight = weight.to(device)  # type: ignore[misc]  # this quantises
        quantized.bias = module.bias
        quantized.support_avx512bf16_for_cpu = False
        model.set_submodule(name, quantized)
    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # PEFT reads it
