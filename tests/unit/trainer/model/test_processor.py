"""The processor in transformers' calling convention, for a model with 36 tokens a crop."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, BatchFeature, ProcessorMixin

from phi3k_trainer.errors import DataError, MissingInputError
from phi3k_trainer.images.errors import ImageError
from phi3k_trainer.images.hd import hd_transform, views
from phi3k_trainer.model.processor import Phi3VImageProcessor, Phi3VProcessor
from phi3k_trainer.prompts.tokenizer import SpecialTokens
from phi3k_trainer.prompts.vocabulary import train_tokenizer

RED, BLUE, WIDE = (
    Image.new("RGB", (64, 64), "red"),
    Image.new("RGB", (64, 64), "blue"),
    Image.new("RGB", (200, 100), "green"),
)
ONE_CROP, TWO_CROPS = 36 + 36 + 1 + 12, 36 + 2 * 36 + 1 + 12


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["What is shown in this image?", "Red Coat"], 400)
    Phi3VProcessor(Phi3VImageProcessor(num_crops=2), tokenizer).save_pretrained(path)
    config = {"model_type": "phi3_v", "vision_config": {"patch_size": 28}}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def processor(directory: Path) -> Phi3VProcessor:
    return Phi3VProcessor.from_pretrained(directory)


def places(inputs: BatchFeature, row: int = 0) -> list[tuple[int, int]]:
    """The pictures of a row in order, each with its number of tokens."""
    found: list[tuple[int, int]] = []
    for token in inputs["input_ids"][row].tolist():
        if token < 0:
            same = found and found[-1][0] == -token
            found.append((-token, found.pop()[1] + 1 if same else 1))
    return found


def test_it_is_one_of_transformers_processors(processor: Phi3VProcessor) -> None:
    assert isinstance(processor, ProcessorMixin)


def test_auto_classes_find_it(directory: Path) -> None:
    assert type(AutoProcessor.from_pretrained(directory)) is Phi3VProcessor
    assert type(AutoImageProcessor.from_pretrained(directory)) is Phi3VImageProcessor


def test_the_models_configuration_says_how_many_tokens_a_crop_has(processor: Phi3VProcessor) -> None:
    assert processor.image_processor.num_img_tokens == 36
    assert places(processor(text="<|image_1|>", images=RED)) == [(1, ONE_CROP)]
    assert processor.image_processor.calc_num_image_tokens(200, 100) == TWO_CROPS


def test_without_a_configuration_the_processors_own_number_counts(directory: Path, tmp_path: Path) -> None:
    Phi3VProcessor.from_pretrained(directory).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert settings["num_img_tokens"] == 36
    assert Phi3VProcessor.from_pretrained(tmp_path).image_processor.num_img_tokens == 36


def test_the_number_of_crops_can_be_overridden(directory: Path) -> None:
    processor = Phi3VProcessor.from_pretrained(directory, num_crops=1)
    assert places(processor(text="<|image_1|>", images=WIDE)) == [(1, ONE_CROP)]


def test_saved_files_are_the_published_ones(directory: Path) -> None:
    names = {path.name for path in directory.iterdir()} - {"config.json"}
    assert names == {
        "preprocessor_config.json",
        "processor_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    settings = json.loads((directory / "preprocessor_config.json").read_text())
    assert settings == {
        "do_convert_rgb": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "Phi3VImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "num_crops": 2,
        "num_img_tokens": 144,
        "processor_class": "Phi3VProcessor",
    }


def test_every_call_has_the_published_number_of_crops_so_that_calls_can_be_concatenated(
    processor: Phi3VProcessor,
) -> None:
    calls = [processor(text="<|image_1|>", images=picture)["pixel_values"] for picture in (RED, WIDE)]
    assert torch.cat(calls).shape == (2, 1 + processor.image_processor.num_crops, 3, 336, 336)


def test_pixels_are_views_filled_up_with_zero_crops(processor: Phi3VProcessor) -> None:
    inputs = processor(text="<|image_1|><|image_2|>", images=[RED, WIDE])
    assert inputs["pixel_values"].shape == (2, 3, 3, 336, 336)
    assert inputs["image_sizes"].tolist() == [[336, 336], [336, 672]]
    for row, picture, crops in zip(inputs["pixel_values"], (RED, WIDE), (1, 2), strict=True):
        torch.testing.assert_close(row[: 1 + crops], views(torch.from_numpy(hd_transform(picture, 2))))
        assert row[1 + crops :].count_nonzero() == 0


def test_pictures_keep_their_order_and_tags_choose_their_places(processor: Phi3VProcessor) -> None:
    inputs = processor(text="<|image_2|> and <|image_1|>", images=[RED, WIDE])
    assert places(inputs) == [(2, TWO_CROPS), (1, ONE_CROP)]
    assert inputs["image_sizes"].tolist() == [[336, 336], [336, 672]]


def test_text_alone_has_no_pixels(processor: Phi3VProcessor) -> None:
    assert set(processor(text="Hi")) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("images", [[RED, WIDE, BLUE], [[RED], [], [WIDE, BLUE]]], ids=["flat", "nested"])
def test_a_batch_gives_each_text_its_pictures(processor: Phi3VProcessor, images: Any) -> None:
    texts = ["<|image_1|>", "Hi", "<|image_2|><|image_1|>"]
    inputs = processor(text=texts, images=images)
    assert [places(inputs, row) for row in range(3)] == [
        [(1, ONE_CROP)],
        [],
        [(2, ONE_CROP), (1, TWO_CROPS)],
    ]
    assert inputs["image_sizes"].tolist() == [[336, 336], [336, 672], [336, 336]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_shorter_texts_are_padded_and_masked(processor: Phi3VProcessor, side: Any) -> None:
    inputs = processor(text=["Red Coat Red Coat", "Red"], padding_side=side)
    alone = processor(text="Red")["input_ids"][0].tolist()
    ids, mask = inputs["input_ids"][1].tolist(), inputs["attention_mask"][1].tolist()
    gap = len(ids) - len(alone)
    pad = [SpecialTokens.from_tokenizer(processor.tokenizer).pad] * gap
    assert gap > 0
    assert ids == (pad + alone if side == "left" else alone + pad)
    assert mask == ([0] * gap + [1] * len(alone) if side == "left" else [1] * len(alone) + [0] * gap)


@pytest.mark.parametrize(("kind", "array"), [("pt", torch.Tensor), ("np", np.ndarray)])
def test_arrays_are_of_the_kind_asked_for(processor: Phi3VProcessor, kind: str, array: type) -> None:
    inputs = processor(text=["<|image_1|>", "Hi"], images=RED if kind == "pt" else [RED], return_tensors=kind)
    assert {name: type(value) for name, value in inputs.items()} == dict.fromkeys(processor.model_input_names, array)
    assert str(inputs["input_ids"].dtype).endswith("int64")
    assert str(inputs["pixel_values"].dtype).endswith("float32")


def test_pictures_of_other_modes_and_arrays_are_taken(processor: Phi3VProcessor) -> None:
    transparent = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    white = np.full((64, 64, 3), 255, dtype=np.uint8)
    pixels = processor(text="<|image_1|><|image_2|>", images=[transparent, white])["pixel_values"]
    assert torch.equal(pixels[0], pixels[1])


@pytest.mark.parametrize(
    ("text", "images", "message"),
    [
        ("<|image_1|>", None, r"<\|image_1\|> without a picture"),
        ("Hi", RED, r"no tag <\|image_1\|>"),
        ("<|image_1|><|image_3|>", [RED, BLUE], r"<\|image_3\|> without a picture; no tag <\|image_2\|>"),
        (["<|image_1|>", "Hi"], [RED, BLUE], "1 image tags, but 2 pictures"),
        (["<|image_1|>", "Hi"], [[RED]], "1 lists of pictures for 2 texts"),
        (["<|image_1|>", "<|image_1|>"], [[RED, BLUE], []], "no tag"),
        ([], None, "no text"),
        ("<|image_1|>", "coat.jpg", "a str is not a picture"),
        ("<|image_1|>", [None], "a NoneType is not a picture"),
        ("<|image_1|>", np.zeros((3, 64, 64), np.uint8), r"uint8 \[3, 64, 64\] is not a picture"),
        ("<|image_1|>", np.zeros((64, 64, 3), np.float32), "float32"),
        ("<|image_1|>", Image.new("RGB", (0, 5)), "0 x 5 pixels"),
    ],
)
def test_what_does_not_fit_together_is_refused(processor: Phi3VProcessor, text: Any, images: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        processor(text=text, images=images)


def test_a_picture_too_thin_is_refused(processor: Phi3VProcessor) -> None:
    with pytest.raises(ImageError, match="5000 and 1 pixels"):
        processor(text="<|image_1|>", images=Image.new("RGB", (5000, 1)))


def test_chat_messages_are_rendered_and_encoded(processor: Phi3VProcessor) -> None:
    messages = [{"role": "user", "content": "<|image_1|>\nWhat?"}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    assert text == "<|user|>\n<|image_1|>\nWhat?<|end|>\n<|assistant|>\n"
    assert processor.apply_chat_template([messages, messages]) == ["<|user|>\n<|image_1|>\nWhat?<|end|>\n"] * 2


def test_messages_may_bring_their_pictures(processor: Phi3VProcessor) -> None:
    content = [{"type": "image", "image": RED}, {"type": "image", "image": WIDE}, {"type": "text", "text": "Which?"}]
    messages = [{"role": "user", "content": content}]
    inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    rendered = "<|user|>\n<|image_1|>\n<|image_2|>\nWhich?<|end|>\n<|assistant|>\n"
    expected = processor(text=rendered, images=[RED, WIDE])
    assert processor.apply_chat_template(messages, add_generation_prompt=True) == rendered
    assert inputs.keys() == expected.keys()
    assert all(torch.equal(inputs[name], expected[name]) for name in expected)
    ids = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
    assert torch.equal(ids, expected["input_ids"])


def test_a_message_with_a_video_is_refused(processor: Phi3VProcessor) -> None:
    with pytest.raises(DataError, match="'video'"):
        processor.apply_chat_template([{"role": "user", "content": [{"type": "video"}]}])


def test_decoding_leaves_out_control_tokens(processor: Phi3VProcessor) -> None:
    ids = processor(text=["Red Coat<|end|>", "Red<|end|>"])["input_ids"]
    assert processor.batch_decode(ids, skip_special_tokens=True) == ["Red Coat", "Red"]
    assert processor.decode(ids[1], skip_special_tokens=True) == "Red"


@pytest.mark.parametrize("name", ["preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_missing_file_is_named(processor: Phi3VProcessor, tmp_path: Path, name: str) -> None:
    processor.save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(MissingInputError, match=name):
        Phi3VProcessor.from_pretrained(tmp_path)


def test_the_processor_of_another_model_is_refused(processor: Phi3VProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_mean": [0.5, 0.5, 0.5]}))
    with pytest.raises(DataError, match="another model"):
        Phi3VProcessor.from_pretrained(tmp_path)


def test_a_mistyped_argument_is_refused(directory: Path) -> None:
    with pytest.raises(TypeError, match="num_crop"):
        Phi3VProcessor.from_pretrained(directory, num_crop=4)
