"""Proving an export: the logits of an example before and after."""

import random

import torch
from PIL import Image
from torch import Tensor

from phi3k_trainer.data.sample.drawing import draw_view, render
from phi3k_trainer.data.sample.garments import BASIC_KINDS
from phi3k_trainer.data.sample.product import draw_product
from phi3k_trainer.errors import TrainingError
from phi3k_trainer.images.decode import decode_image
from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.model.processor import Phi3VProcessor
from phi3k_trainer.prompts.conversation import Turn, image_tag
from phi3k_trainer.prompts.conversation import render as render_turns

SAME_WEIGHTS = 1e-5
"""Largest relative difference that the same weights on the same machine may show."""

MERGED = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest relative difference that rounding merged weights to a dtype may make: bfloat16 keeps 8 bits in each layer."""


def example(processor: Phi3VProcessor) -> dict[str, Tensor]:
    """Inputs of the model for a question about a picture of the sample catalogue, wide enough for several crops."""
    rng = random.Random("export")
    product, view = draw_product(rng, BASIC_KINDS), draw_view(rng)
    drawn = decode_image(render(product, view, 336), max_pixels=336 * 336)
    picture = Image.new("RGB", (672, 336), "white")
    picture.paste(drawn, (168, 0))
    turns = (Turn("user", image_tag(1) + "\nWhat is shown in this image?"), Turn("assistant", product.title))
    return dict(processor(text=render_turns(turns), images=picture))


@torch.no_grad()
def logits_of(model: Phi3VForCausalLM, inputs: dict[str, Tensor]) -> Tensor:
    """Logits `[1, T, vocab_size]` in float32 on the CPU."""
    device = next(model.parameters()).device
    logits: Tensor = model(**{name: value.to(device) for name, value in inputs.items()}, use_cache=False).logits
    return logits.float().cpu()


def difference(logits: Tensor, reference: Tensor) -> float:
    """Their distance as a share of the reference's length."""
    return float((logits - reference).norm() / reference.norm())


def check_difference(found: float, allowed: float, what: str) -> float:
    """Return `found`, or raise TrainingError when it is over `allowed` or not a number."""
    if not found <= allowed:
        raise TrainingError(
            f"{what} computes something else: its logits are off by {found:.2g} of their size, and {allowed:.0e} is"
            " allowed. Nothing was exported; this is a defect worth reporting"
        )
    return found
