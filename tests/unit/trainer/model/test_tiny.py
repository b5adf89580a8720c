"""The tiny model: in the published layout, the same each time, and able to learn."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from phi3k_trainer.errors import OutputError
from phi3k_trainer.model.loading import load_model
from phi3k_trainer.model.processor import Phi3VProcessor
from phi3k_trainer.model.tiny import build_tiny
from phi3k_trainer.recipe.model import TinySection

SECTION = TinySection(hidden_size=64, num_layers=2, vision_hidden_size=32, vision_num_layers=2, vocabulary_size=300)
TEXTS = ["What is shown in this image?", "Product: Red Coat", "Product: Blue Shirt"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(SECTION, TEXTS, 0, tmp_path_factory.mktemp("tiny") / "model")


def test_it_has_every_file_of_the_published_layout(tiny: Path) -> None:
    expected = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert expected | {"preprocessor_config.json", "processor_config.json"} <= {path.name for path in tiny.iterdir()}


def test_a_picture_of_one_crop_takes_85_tokens(tiny: Path) -> None:
    assert load_model(tiny, dtype=torch.float32).config.image_tokens(1, 1) == 85


def test_processor_and_model_agree_on_the_tokens_of_a_picture(tiny: Path) -> None:
    processor = Phi3VProcessor.from_pretrained(tiny)
    inputs = processor(text="<|user|>\n<|image_1|>\nWhat?<|end|>\n", images=Image.new("RGB", (500, 400), "red"))
    assert load_model(tiny, dtype=torch.float32)(**inputs).logits.isfinite().all()


def test_generation_ends_at_its_own_tokenizers_stop_tokens(tiny: Path) -> None:
    processor = Phi3VProcessor.from_pretrained(tiny)
    ends = [processor.tokenizer.convert_tokens_to_ids(name) for name in ("<|end|>", "<|endoftext|>")]
    assert load_model(tiny, dtype=torch.float32).config.eos_token_id == ends


def weights(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def test_the_same_section_texts_and_seed_give_the_same_weights(tiny: Path, tmp_path: Path) -> None:
    assert weights(build_tiny(SECTION, reversed(TEXTS), 0, tmp_path / "again")) == weights(tiny)
    assert weights(build_tiny(SECTION, TEXTS, 1, tmp_path / "other")) != weights(tiny)


def test_building_does_not_disturb_the_random_state(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_tiny(SECTION, TEXTS, 0, tmp_path / "model")
    assert torch.equal(torch.rand(1), expected)


def test_a_model_that_is_there_already_is_left_alone_and_another_is_replaced(tmp_path: Path) -> None:
    directory = build_tiny(SECTION, TEXTS, 0, tmp_path / "model")
    built = (directory / "model.safetensors").stat().st_ino
    build_tiny(SECTION, TEXTS, 0, directory)
    assert (directory / "model.safetensors").stat().st_ino == built
    before = weights(directory)
    build_tiny(SECTION, TEXTS, 1, directory)
    assert weights(directory) != before


def test_a_directory_with_something_else_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(OutputError, match="something other"):
        build_tiny(SECTION, TEXTS, 0, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "chapter one"


def test_it_learns_to_tell_two_pictures_apart(tiny: Path) -> None:
    model, processor = load_model(tiny, dtype=torch.float32).train(), Phi3VProcessor.from_pretrained(tiny)
    answers = ("Product: Red Coat", "Product: Blue Shirt")
    inputs = processor(
        text=[f"<|user|>\n<|image_1|>\n<|end|>\n<|assistant|>\n{answer}<|end|>" for answer in answers],
        images=[Image.new("RGB", (336, 336), color) for color in ("red", "blue")],
    )
    labels = inputs["input_ids"].clone()
    labels[(labels < 0) | (inputs["attention_mask"] == 0)] = -100
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(60):
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    # Without looking at the picture the choice between the two answers costs ln 2 once in each row.
    tokens_a_row = (labels != -100).sum().item() / 2
    assert loss.item() < 0.5 * 0.693 / tokens_a_row
