"""The model's forward pass: forms of pictures, padding, packing, losses, activation checkpointing."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from phi3k_trainer.errors import DataError
from phi3k_trainer.model import Phi3VForCausalLM
from tests.unit.trainer.model.conftest import crops, places, small_config, small_model

GRIDS = ((1, 2), (1, 1))


def two_picture_row(model: Phi3VForCausalLM, first: int = 1, second: int = 2) -> list[int]:
    return [
        1,
        5,
        *places(model.config, first, GRIDS[first - 1]),
        6,
        *places(model.config, second, GRIDS[second - 1]),
        7,
    ]


def last_logits(model: Phi3VForCausalLM, ids: list[list[int]], **inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor(ids), **inputs).logits
    return logits[:, -1]


def test_the_published_form_and_the_training_form_of_pictures_agree(model: Phi3VForCausalLM) -> None:
    flat = crops(0, *GRIDS)
    padded = torch.zeros(2, 5, 3, 336, 336)
    padded[0, :3], padded[1, :2] = flat["image_crops"][:3], flat["image_crops"][3:]
    row = [two_picture_row(model)]
    published = last_logits(model, row, pixel_values=padded, image_sizes=flat["image_sizes"])
    torch.testing.assert_close(last_logits(model, row, **flat), published)


def test_zero_crops_of_the_published_form_cost_nothing(model: Phi3VForCausalLM) -> None:
    flat, work = crops(0, *GRIDS), []
    for num_crops in (4, 16):
        padded = torch.zeros(2, 1 + num_crops, 3, 336, 336)
        padded[0, :3], padded[1, :2] = flat["image_crops"][:3], flat["image_crops"][3:]
        with FlopCounterMode(display=False) as counted:
            last_logits(model, [two_picture_row(model)], pixel_values=padded, image_sizes=flat["image_sizes"])
        work.append(counted.get_total_flops())
    assert work[0] == work[1] > 0


def test_each_picture_stands_where_its_tag_stands(model: Phi3VForCausalLM) -> None:
    flat = crops(0, *GRIDS)
    swapped = {
        "image_crops": torch.cat([flat["image_crops"][3:], flat["image_crops"][:3]]),
        "image_sizes": flat["image_sizes"].flip(0),
    }
    # <|image_2|> first, against the same pictures numbered the other way round.
    renumbered = [-1 if token == -2 else -2 if token == -1 else token for token in two_picture_row(model, 2, 1)]
    torch.testing.assert_close(
        last_logits(model, [two_picture_row(model, 2, 1)], **flat), last_logits(model, [renumbered], **swapped)
    )


def test_pictures_of_one_row_do_not_reach_another(model: Phi3VForCausalLM) -> None:
    rows = [[1, *places(model.config, 1, (1, 1)), token] for token in (5, 6)]
    together = last_logits(model, rows, **crops(0, (1, 1), (1, 1)))
    changed = crops(0, (1, 1), (1, 1))
    changed["image_crops"][2:] = 0.0
    torch.testing.assert_close(last_logits(model, rows, **changed)[0], together[0])


def test_padding_on_either_side_changes_nothing(model: Phi3VForCausalLM) -> None:
    row, pictures = two_picture_row(model), crops(0, *GRIDS)
    alone = last_logits(model, [row], **pictures)
    padding, pad = 5, model.config.pad_token_id
    mask = torch.ones(1, len(row) + padding, dtype=torch.int64)
    left, right = mask.clone(), mask.clone()
    left[:, :padding], right[:, -padding:] = 0, 0
    with torch.no_grad():
        on_left = model(input_ids=torch.tensor([[pad] * padding + row]), attention_mask=left, **pictures).logits
        on_right = model(input_ids=torch.tensor([row + [pad] * padding]), attention_mask=right, **pictures).logits
    torch.testing.assert_close(on_left[:, -1], alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(on_right[:, len(row) - 1], alone, atol=1e-4, rtol=1e-4)


def test_left_padding_does_not_push_a_short_sequence_out_of_the_original_window() -> None:
    model = small_model(original_max_position_embeddings=8)
    row, mask = [1, 5, 6, 7], torch.tensor([[0] * 6 + [1] * 4])
    alone = last_logits(model, [row])
    padded = last_logits(model, [[model.config.pad_token_id] * 6 + row], attention_mask=mask)
    torch.testing.assert_close(padded, alone, atol=1e-4, rtol=1e-4)


def test_packed_samples_see_only_themselves(model: Phi3VForCausalLM) -> None:
    first, second = [1, 5, 6, 7, 8], [1, 9, 10, *places(model.config, 1, (1, 1)), 11]
    pictures = crops(0, (1, 1))
    positions = torch.tensor([[*range(len(first)), *range(len(second))]])
    with torch.no_grad():
        packed = model(input_ids=torch.tensor([first + second]), position_ids=positions, **pictures).logits[0]
        alone = [
            model(input_ids=torch.tensor([first])).logits[0],
            model(input_ids=torch.tensor([second]), **pictures).logits[0],
        ]
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-4, rtol=1e-4)


def labelled_batch(model: Phi3VForCausalLM) -> dict[str, torch.Tensor]:
    rows = [[1, *places(model.config, 1, (1, 1)), 5, 6, 7, 8], [1, *places(model.config, 1, (1, 1)), 9, 10, 11, 12]]
    ids = torch.tensor(rows)
    labels = torch.full_like(ids, -100)
    labels[0, -3:], labels[1, -1:] = ids[0, -3:], ids[1, -1:]
    return {"input_ids": ids, "labels": labels, **crops(0, (1, 1), (1, 1))}


def test_the_loss_is_the_mean_over_labelled_tokens_each_predicted_from_the_token_before(
    model: Phi3VForCausalLM,
) -> None:
    batch = labelled_batch(model)
    with torch.no_grad():
        output = model(**batch)
    probabilities = output.logits.double().log_softmax(-1)
    expected = [
        -probabilities[row, column - 1, batch["labels"][row, column]]
        for row, column in (batch["labels"] != -100).nonzero().tolist()
    ]
    assert len(expected) == 4
    assert output.loss.item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-5)


def test_a_loss_without_labels_is_not_a_number(model: Phi3VForCausalLM) -> None:
    ids = torch.tensor([[1, 5, 6]])
    assert model(input_ids=ids, labels=torch.full_like(ids, -100)).loss.isnan()


def test_token_loss_is_the_sum_of_the_loss_and_the_number_of_labels(model: Phi3VForCausalLM) -> None:
    batch = labelled_batch(model)
    with torch.no_grad():
        total, count = model.token_loss(**batch)
        mean = model(**batch).loss
    assert count.item() == 4
    assert total.dtype == torch.float32
    assert (total / count).item() == pytest.approx(mean.item(), abs=1e-6)


def test_token_losses_of_single_rows_add_up_to_that_of_the_batch(model: Phi3VForCausalLM) -> None:
    batch = labelled_batch(model)
    with torch.no_grad():
        total, _ = model.token_loss(**batch)
        rows = [
            model.token_loss(
                batch["input_ids"][row : row + 1],
                batch["labels"][row : row + 1],
                image_crops=batch["image_crops"][2 * row : 2 * row + 2],
                image_sizes=batch["image_sizes"][row : row + 1],
            )[0]
            for row in (0, 1)
        ]
    assert torch.stack(rows).sum().item() == pytest.approx(total.item(), abs=1e-5)


def test_token_loss_computes_logits_for_labelled_positions_only(model: Phi3VForCausalLM) -> None:
    widths: list[torch.Size] = []
    hook = model.lm_head.register_forward_hook(lambda *call: widths.append(call[2].shape))
    with torch.no_grad():
        model.token_loss(**labelled_batch(model))
    hook.remove()
    assert widths == [torch.Size([4, model.config.vocab_size])]


def test_logits_to_keep_computes_only_the_last_ones(model: Phi3VForCausalLM) -> None:
    ids = torch.tensor([[1, 5, 6, 7]])
    with torch.no_grad():
        kept = model(input_ids=ids, logits_to_keep=2).logits
        torch.testing.assert_close(kept, model(input_ids=ids).logits[:, -2:])


def text_batch() -> dict[str, torch.Tensor]:
    ids = torch.tensor([[1, 5, 6, 7]])
    return {"input_ids": ids, "labels": ids}


def test_a_batch_of_text_gives_every_trained_vision_weight_a_gradient_of_zero() -> None:
    model = small_model().train()
    total, _ = model.token_loss(**text_batch())
    total.backward()
    gradients = [p.grad for p in model.model.vision_embed_tokens.parameters() if p.requires_grad]
    assert gradients
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_a_batch_of_text_has_the_same_loss_whether_vision_is_trained_or_frozen() -> None:
    model = small_model()
    trained, _ = model.token_loss(**text_batch())
    model.model.vision_embed_tokens.requires_grad_(requires_grad=False)
    frozen, _ = model.token_loss(**text_batch())
    assert trained.item() == frozen.item()


def test_a_batch_of_text_leaves_a_frozen_tower_alone() -> None:
    model = small_model()
    model.model.vision_embed_tokens.requires_grad_(requires_grad=False)
    calls: list[nn.Module] = []
    model.model.vision_embed_tokens.register_forward_hook(lambda *call: calls.append(call[0]))
    model.token_loss(**text_batch())
    assert not calls


def layers_entered(model: Phi3VForCausalLM, batch: dict[str, torch.Tensor]) -> list[str]:
    """The layers of tower and decoder in the order in which token_loss enters them."""
    entered: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: entered.append(name))
        for name, module in model.named_modules()
        if type(module).__name__ in model._no_split_modules
    ]
    model.token_loss(**batch)
    for hook in hooks:
        hook.remove()
    return entered


@torch.no_grad()
def test_where_vision_always_runs_text_enters_the_layers_that_pictures_enter_and_has_the_same_loss() -> None:
    model = small_model()
    alone, _ = model.token_loss(**text_batch())
    model.model.runs_vision_always = True
    assert layers_entered(model, text_batch()) == layers_entered(model, labelled_batch(model))
    total, _ = model.token_loss(**text_batch())
    assert total.item() == alone.item()


def test_activation_checkpointing_runs_each_layer_again_and_gives_the_same_gradients() -> None:
    def gradients(checkpointing: bool) -> tuple[dict[str, torch.Tensor], int]:
        model = small_model().train()
        if checkpointing:
            model.activation_checkpointing_enable()
        runs: list[nn.Module] = []
        tower = model.model.vision_embed_tokens.img_processor.vision_model
        for layer in (*model.model.layers, *tower.encoder.layers):
            layer.mlp.register_forward_pre_hook(lambda *call: runs.append(call[0]))
        total, _ = model.token_loss(**labelled_batch(model))
        total.backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, len(runs)

    plain, runs = gradients(checkpointing=False)
    checkpointed, runs_again = gradients(checkpointing=True)
    assert (runs, runs_again) == (4, 8)
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient)


def test_sdpa_and_eager_attention_agree(model: Phi3VForCausalLM) -> None:
    config = small_config()
    config._attn_implementation = "eager"
    eager = Phi3VForCausalLM(config).eval()
    eager.load_state_dict(model.state_dict())
    assert eager.config.vision_config._attn_implementation == "eager"
    row, pictures = [two_picture_row(model)], crops(0, *GRIDS)
    torch.testing.assert_close(
        last_logits(eager, row, **pictures), last_logits(model, row, **pictures), atol=1e-4, rtol=1e-4
    )


def test_pictures_without_sizes_are_an_error(model: Phi3VForCausalLM) -> None:
    with pytest.raises(DataError, match="image_sizes"):
        model(input_ids=torch.tensor([[1, -1]]), image_crops=torch.zeros(2, 3, 336, 336))


def test_another_number_of_pictures_than_of_sizes_is_an_error(model: Phi3VForCausalLM) -> None:
    sizes = torch.full((2, 2), 336)
    with pytest.raises(DataError, match="2 image sizes"):
        model(input_ids=torch.tensor([[1, -1]]), pixel_values=torch.zeros(1, 2, 3, 336, 336), image_sizes=sizes)


def test_placeholders_without_pictures_are_an_error(model: Phi3VForCausalLM) -> None:
    with pytest.raises(DataError, match="tag"):
        model(input_ids=torch.tensor([[1, -1]]))
