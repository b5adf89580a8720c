"""How far our numbers are from the published code's, on the golden vectors: parity.py [--json].

Prints, for each quantity, the largest deviation over all golden cases beside the tolerance that the tests hold.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from PIL import Image
from tests.golden.golden_inputs import (
    GRADIENT_NORM_RELATIVE_TOLERANCE,
    LOGIT_TOLERANCE,
    LOSS_TOLERANCE,
    PIXEL_TOLERANCE,
    arrays,
    golden,
    golden_image,
)
from tests.golden.test_model_parity import PROMPTS, RECORDED, ROUNDING_NOISE, build, pictures, with_answer

from phi3k_trainer.images.hd import hd_transform, views
from phi3k_trainer.model import Phi3VForCausalLM


def pixel_deviation() -> float:
    """Largest absolute deviation of a normalised pixel over the 18 golden pictures and crop limits."""
    worst = 0.0
    for case in golden()["processor"]:
        picture = torch.from_numpy(hd_transform(Image.fromarray(golden_image(case["image"])), case["num_crops"]))
        stored = np.zeros(case["shape"][1:], np.float32)
        crops = views(picture).numpy()
        stored[: len(crops)] = crops
        recorded = arrays()[f"{case['key']}/value"]
        worst = max(worst, float(np.abs(stored.ravel()[arrays()[f"{case['key']}/index"]] - recorded).max()))
    return worst


def model_deviations(model: Phi3VForCausalLM) -> dict[str, float]:
    """Largest deviations of logits, loss and gradient norms (relative), and greedy tokens that differ."""
    worst = {"logits": 0.0, "loss": 0.0, "gradient norms (relative)": 0.0, "greedy tokens that differ": 0.0}
    for name, recorded in RECORDED.items():
        model.zero_grad()
        ids, labels = with_answer(name)
        output = model(input_ids=ids, labels=labels, **pictures(name))
        output.loss.backward()
        sampled = output.logits.detach().flatten().numpy()[arrays()[f"model/{name}/logits/index"]]
        logits = float(np.abs(sampled - arrays()[f"model/{name}/logits/value"]).max())
        worst["logits"] = max(worst["logits"], logits)
        worst["loss"] = max(worst["loss"], abs(output.loss.item() - recorded["loss"]))
        for key, parameter in model.named_parameters():
            norm = recorded["grad_norm"].get(key, 0.0)
            if parameter.grad is not None and norm > ROUNDING_NOISE:
                relative = abs(parameter.grad.norm().item() - norm) / norm
                worst["gradient norms (relative)"] = max(worst["gradient norms (relative)"], relative)
        prompt = torch.tensor([PROMPTS[name]["input_ids"]])
        options = {"do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8}
        answer = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), **options, **pictures(name))[
            0, prompt.shape[1] :
        ].tolist()
        worst["greedy tokens that differ"] += sum(a != b for a, b in zip(answer, recorded["greedy_8"], strict=True))
    return worst


def main() -> None:
    """Print the deviations as a Markdown table, or as JSON."""
    measured = {"pixels": pixel_deviation(), **model_deviations(build())}
    tolerances = {
        "pixels": PIXEL_TOLERANCE,
        "logits": LOGIT_TOLERANCE,
        "loss": LOSS_TOLERANCE,
        "gradient norms (relative)": GRADIENT_NORM_RELATIVE_TOLERANCE,
        "greedy tokens that differ": 0.0,
    }
    if "--json" in sys.argv[1:]:
        print(json.dumps(measured, indent=2))
        return
    print("| quantity | largest deviation | tolerance of the tests |\n|---|---|---|")
    for quantity, deviation in measured.items():
        print(f"| {quantity} | {deviation:.1e} | {tolerances[quantity]:.0e} |")


if __name__ == "__main__":
    main()
