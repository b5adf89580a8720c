"""What learns, in which type and how fast, for every way of tuning; and adapters that other tools can read."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file

from phi3k_trainer.checkpoints.tensors import trained_parameters
from phi3k_trainer.errors import RecipeError, UnavailableError
from phi3k_trainer.model.loading import load_model, published_keys
from phi3k_trainer.tuning import quantization
from phi3k_trainer.tuning.adapters import merge_adapters
from phi3k_trainer.tuning.model import TunedModel, build_tuned_model
from phi3k_trainer.tuning.parameter_groups import is_adapter, parameter_groups, part_of
from tests.unit.trainer.conftest import recipe_with

CPU = torch.device("cpu")
IDS = torch.tensor([[1, 300 % 200, 17, 42, 5]])


def build(base: Path, *overrides: str) -> TunedModel:
    return build_tuned_model(recipe_with(base, *overrides), base, CPU)


def trained_kinds(tuned: TunedModel) -> set[tuple[str, bool]]:
    """(part, adapter or not) of everything that learns."""
    names = [name for name, parameter in tuned.model.named_parameters() if parameter.requires_grad]
    return {(part_of(name), is_adapter(name)) for name in names}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("tuning.method=lora",), {("language", True)}),
        (("tuning.method=full",), {("language", False)}),
        (
            ("tuning.method=dora", "tuning.vision=lora", "tuning.projector=full"),
            {("language", True), ("vision", True), ("projector", False)},
        ),
        (
            ("tuning.method=full", "tuning.vision=full", "tuning.projector=full"),
            {("language", False), ("vision", False), ("projector", False)},
        ),
        (("tuning.projector=lora",), {("language", True), ("projector", True)}),
    ],
)
def test_exactly_what_the_recipe_names_learns(
    base: Path, overrides: tuple[str, ...], expected: set[tuple[str, bool]]
) -> None:
    assert trained_kinds(build(base, *overrides)) == expected


@pytest.mark.parametrize("vision", ["lora", "full"])
def test_the_clip_layer_that_is_never_run_never_learns(base: Path, vision: str) -> None:
    method = "lora" if vision == "lora" else "full"
    tuned = build(base, f"tuning.method={method}", f"tuning.vision={vision}")
    trained = trained_parameters(tuned.model)
    assert any("encoder.layers.1." in name for name in trained)
    assert not [name for name in trained if "encoder.layers.2." in name or "post_layernorm" in name]


def test_trained_weights_are_float32_and_frozen_ones_as_the_recipe_says(base: Path) -> None:
    tuned = build(base, "model.dtype=bfloat16", "tuning.projector=full")
    types = {(parameter.requires_grad, parameter.dtype) for parameter in tuned.model.parameters()}
    assert types == {(True, torch.float32), (False, torch.bfloat16)}


def test_each_part_has_its_learning_rate_and_vectors_do_not_decay(base: Path) -> None:
    recipe = recipe_with(
        base, "tuning.method=full", "tuning.vision=full", "tuning.projector=full", "training.weight_decay=0.1",
        "training.learning_rate=1e-3", "training.projector_learning_rate=5e-4",
    )  # fmt: skip
    model = build_tuned_model(recipe, base, CPU).model
    groups = parameter_groups(model, recipe.training, recipe.tuning)
    rates = {group["part"]: group["lr"] for group in groups}
    assert rates == {"language": 1e-3, "vision": pytest.approx(1e-4), "projector": 5e-4}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            is_vector = parameter.ndim < 2 or names[id(parameter)].endswith("_GN")
            assert group["weight_decay"] == (0.0 if is_vector else 0.1)


def test_the_same_recipe_makes_the_same_adapters(base: Path) -> None:
    one, other = (trained_parameters(build(base, "training.seed=3").model) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_adapters_are_in_pefts_format_and_merge_into_the_published_layout(
    base: Path, tmp_path: Path, method: str
) -> None:
    overrides = (f"tuning.method={method}", "tuning.vision=lora", "tuning.projector=lora", "tuning.rank=4")
    tuned = build(base, *overrides)
    torch.manual_seed(0)
    for parameter in trained_parameters(tuned.model).values():
        torch.nn.init.normal_(parameter.data, std=0.3)
    model = tuned.model.eval()
    expected = model(IDS).logits
    stored = {name: parameter.data for name, parameter in trained_parameters(model).items()}
    save_file(stored, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(tuned.adapter_config))

    in_peft = PeftModel.from_pretrained(load_model(base, dtype=torch.float32), str(tmp_path))
    merge_adapters(model)

    torch.testing.assert_close(in_peft(IDS).logits, expected)
    torch.testing.assert_close(model(IDS).logits, expected, rtol=1e-4, atol=1e-4)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == published_keys(model.config)


def test_qlora_keeps_four_bits_of_the_frozen_layers_and_learns_adapters(base: Path) -> None:
    name = "model.layers.0.mlp.down_proj"
    whole = load_model(base, dtype=torch.float32).get_submodule(name)
    tuned = build(base, "tuning.method=qlora", "tuning.dropout=0")
    quantized = tuned.model.get_submodule(name)

    packed = quantized.base_layer.weight
    assert packed.numel() * packed.element_size() == 64 * 128 // 2
    inputs = torch.randn(100, 128, generator=torch.Generator().manual_seed(0))
    expected = whole(inputs)
    assert 0 < (quantized(inputs) - expected).norm() < 0.15 * expected.norm()  # NF4 rounds weights by about a tenth
    tuned.model(IDS).logits.sum().backward()
    assert trained_kinds(tuned) == {("language", True)}
    assert all(parameter.grad is not None for parameter in trained_parameters(tuned.model).values())


def test_qlora_computes_the_same_with_and_without_gradients_and_keeps_its_frozen_weights(base: Path) -> None:
    model = build(base, "tuning.method=qlora", "tuning.dropout=0").model
    frozen = {name: value.clone() for name, value in model.state_dict().items()}
    with_gradients = model.train()(IDS).logits
    with torch.no_grad():
        without = model.eval()(IDS).logits
    assert torch.equal(with_gradients, without)
    stored = model.state_dict()
    assert stored.keys() == frozen.keys()
    assert all(torch.equal(stored[name], frozen[name]) for name in frozen)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("hidden_size", {"hidden_size": 96, "num_attention_heads": 3}), ("intermediate_size", {"intermediate_size": 96})],
)
def test_sizes_that_qlora_cannot_round_are_refused_before_anything_is_loaded(
    base: Path, tmp_path: Path, name: str, sizes: dict[str, int]
) -> None:
    config = json.loads((base / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | sizes))
    with pytest.raises(RecipeError, match=rf"blocks of 64 weights, and the model's {name} is 96"):
        build(tmp_path, "tuning.method=qlora")


def test_recomputing_activations_changes_no_gradient(base: Path) -> None:
    gradients = []
    for recompute in (False, True):
        recipe = recipe_with(base, "tuning.method=full", "tuning.vision=full")
        model = build_tuned_model(recipe, base, CPU, recompute=recompute).model.train()
        total, _ = model.token_loss(
            IDS.new_tensor([[1, *[-1] * 13, 7, 9]]),
            IDS.new_tensor([[-100] * 14 + [7, 9]]),
            image_crops=torch.linspace(-1, 1, 2 * 3 * 336 * 336).view(2, 3, 336, 336),
            image_sizes=IDS.new_tensor([[336, 336]]),
        )
        total.backward()
        gradients.append({name: parameter.grad for name, parameter in trained_parameters(model).items()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_qlora_without_bitsandbytes_is_refused_at_the_start(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes.functional", None)
    with pytest.raises(UnavailableError, match=r"needs bitsandbytes.*tuning.method to 'lora'"):
        quantization.check_bitsandbytes(CPU)
