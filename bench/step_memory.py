"""The peak of the host memory in training steps on the CPU, beside the plan's: step_memory.py [LAYERS [STEPS]].

LoRA with the recipe's defaults, one sample of four crops (805 tokens), bfloat16, layers of the published sizes; all 32
take 11 GiB and minutes. The weights are filled with a constant: their values don't matter to memory.
"""

import sys
from pathlib import Path

import torch

from phi3k_trainer.model import Phi3VConfig, Phi3VForCausalLM
from phi3k_trainer.planning import ModelShape
from phi3k_trainer.planning.memory import Batch, peak_memory
from phi3k_trainer.recipe.model import TuningSection
from phi3k_trainer.training.allocator import return_large_blocks
from phi3k_trainer.tuning.adapters import adapter_config, attach_adapters
from phi3k_trainer.tuning.parameter_groups import select_trained

VISION_LAYERS = 24
TOKENS, IMAGE_TOKENS, LABELS, VIEWS = 805, 757, 34, 5
MEBIBYTE = 2**20


def published(layers: int) -> dict[str, object]:
    return {
        "model_type": "phi3_v",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32064,
        "vision_config": {"num_hidden_layers": VISION_LAYERS},
    }


def tuned_model(layers: int, tuning: TuningSection) -> Phi3VForCausalLM:
    config = Phi3VConfig(rope_scaling=None, pad_token_id=0, **published(layers))
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = Phi3VForCausalLM(config).to(torch.bfloat16)
    model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *(one for one in model.buffers() if one.is_floating_point())):
        tensor.data.fill_(0.01)
    model.model.vision_embed_tokens.img_processor.vision_model.restore_positions(torch.device("cpu"))
    attach_adapters(model, adapter_config(tuning, VISION_LAYERS, "base"))
    select_trained(model, tuning)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    model.activation_checkpointing_enable({"use_reentrant": False})
    return model.train()


def train(model: Phi3VForCausalLM, steps: int) -> None:
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], fused=True)
    ids = torch.full((1, TOKENS), 7)
    ids[0, :IMAGE_TOKENS] = -1
    labels = torch.full_like(ids, -100)
    labels[0, -LABELS:] = 7
    pictures = {"image_crops": torch.zeros(VIEWS, 3, 336, 336), "image_sizes": torch.tensor([[672, 672]])}
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16):
            loss, count = model.token_loss(ids, labels, **pictures)
        (loss / count).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def peak_mebibytes() -> int:
    """The highest resident set of this process since it was last reset."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) // 1024


def main(layers: int, steps: int) -> None:
    tuning = TuningSection()
    batch = Batch(tokens=TOKENS, views=VIEWS, image_tokens=IMAGE_TOKENS, label_tokens=LABELS)
    planned = peak_memory(
        ModelShape.from_config(published(layers)), tuning, batch, "bfloat16", activation_checkpointing=True
    )
    return_large_blocks()
    model = tuned_model(layers, tuning)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    train(model, steps)
    print(f"{layers} layers, {steps} steps: peak {peak_mebibytes():,} MiB, planned {planned.total // MEBIBYTE:,} MiB")


if __name__ == "__main__":
    main(*map(int, [*sys.argv[1:], *("2", "3")[len(sys.argv) - 1 :]]))
