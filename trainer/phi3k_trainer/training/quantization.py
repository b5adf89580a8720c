"""QLoRA's frozen weights: the language model's linear layers in 4-bit NormalFloat, through bitsandbytes."""

import torch
from torch import nn

from phi3k_trainer.errors import UnavailableError


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
            "Install a build for this machine, or set tuning.method to 'lora'."
        ) from problem
    if error > 0.2:  # NF4's widest gap between levels is 0.304, so rounding is off by 0.152 at most
        raise UnavailableError(
            f"tuning.method 'qlora' needs bitsandbytes, whose 4-bit numbers are wrong on {device} "
            f"(off by {error:.2f}). Install another build, or set tuning.method to 'lora'."
        )


def quantize_language_model(model: nn.Module, compute_dtype: torch.dtype, device: torch.device) -> None:
    """Replace each linear layer inside the decoder's layers by a 4-bit one on `device` (NF4, double quantisation).

    Quantises layer by layer, so the device never holds more than one of them in full.
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
            compress_statistics=True,
            module=quantized,
        )
        quantized.weight = weight.to(device)  # type: ignore[misc]  # this quantises
        quantized.bias = module.bias
        model.set_submodule(name, quantized)
    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # PEFT reads it
