"""With the published tokenizers and settings, text and pictures become the published ids, masks and sizes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoProcessor

from phi3k_trainer.images.grid import image_tokens
from phi3k_trainer.model.processor import Phi3VImageProcessor, Phi3VProcessor
from phi3k_trainer.prompts.conversation import Turn, render
from phi3k_trainer.prompts.encoding import IGNORED, SpecialTokens, encode, encode_prompt
from tests.golden.golden_inputs import golden, golden_image
from tests.golden.published import published_directories

PROMPTS: list[dict[str, Any]] = golden()["prompts"]
CHAT: dict[str, Any] = golden()["chat_template"]


@pytest.fixture(scope="module", params=published_directories(), ids=lambda directory: directory.name)
def directory(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture(scope="module")
def processor(directory: Path) -> Phi3VProcessor:
    return Phi3VProcessor.from_pretrained(directory, num_crops=4)


def _token_counts(prompt: dict[str, Any]) -> list[int]:
    recorded = {(case["image"], case["num_crops"]): case["num_img_tokens"] for case in golden()["processor"]}
    return [recorded[name, prompt["num_crops"]] for name in prompt["images"]]


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt["name"])
def test_rendered_text_gets_the_published_ids(processor: Phi3VProcessor, prompt: dict[str, Any]) -> None:
    inputs = processor(text=prompt["text"], images=[golden_image(name) for name in prompt["images"]] or None)
    assert inputs["input_ids"].tolist() == [prompt["input_ids"]]
    assert inputs["attention_mask"].tolist() == [[1] * len(prompt["input_ids"])]


@pytest.mark.parametrize("prompt", PROMPTS[1:], ids=lambda prompt: prompt["name"])
def test_turns_get_the_published_ids(processor: Phi3VProcessor, prompt: dict[str, Any]) -> None:
    words = prompt["text"].removeprefix("<|user|>\n").removesuffix("<|end|>\n<|assistant|>\n")
    ids = encode_prompt([Turn("user", words)], _token_counts(prompt), processor.tokenizer)
    assert ids.tolist() == prompt["input_ids"]


def test_a_conversation_gets_the_ids_of_its_rendered_text(processor: Phi3VProcessor) -> None:
    turns = [Turn(message["role"], message["content"]) for message in CHAT["messages"]]
    rendered = processor(text=render(turns, add_generation_prompt=True), images=golden_image("square"))
    assert encode_prompt(turns, [757], processor.tokenizer).tolist() == rendered["input_ids"][0].tolist()


@pytest.mark.parametrize("answer", golden()["model"], ids=lambda answer: answer["prompt"])
def test_an_answer_is_labelled_with_the_published_ids(processor: Phi3VProcessor, answer: dict[str, Any]) -> None:
    turns = [Turn("user", "Name a coat."), Turn("assistant", answer["answer"].removesuffix("<|end|>"))]
    encoding = encode(turns, [], processor.tokenizer)
    assert encoding.labels[encoding.labels != IGNORED].tolist() == answer["answer_ids"]


def test_special_tokens_have_the_published_ids(processor: Phi3VProcessor) -> None:
    special = SpecialTokens.from_tokenizer(processor.tokenizer)
    assert special == SpecialTokens(
        bos=1, endoftext=32000, assistant=32001, system=32006, end=32007, user=32010, image=32044
    )


def test_chat_template_is_the_published_one(processor: Phi3VProcessor) -> None:
    assert processor.apply_chat_template(CHAT["messages"]) == CHAT["without"]
    prompted = processor.apply_chat_template(CHAT["messages"], add_generation_prompt=True)
    assert prompted == CHAT["with_generation_prompt"]


def test_render_writes_the_published_chat_template() -> None:
    turns = [Turn(message["role"], message["content"]) for message in CHAT["messages"]]
    assert render(turns) == CHAT["without"]
    assert render(turns, add_generation_prompt=True) == CHAT["with_generation_prompt"]


def test_auto_classes_find_ours_without_remote_code(directory: Path) -> None:
    processor = AutoProcessor.from_pretrained(directory)
    image_processor = AutoImageProcessor.from_pretrained(directory)
    assert type(processor) is Phi3VProcessor
    assert type(image_processor) is Phi3VImageProcessor
    assert processor.image_processor.num_crops == image_processor.num_crops


def test_number_of_crops_is_the_published_one_unless_said(directory: Path) -> None:
    defaults = {"phi-3-vision-128k-instruct": 16, "phi-3.5-vision-instruct": 4}
    assert Phi3VProcessor.from_pretrained(directory).image_processor.num_crops == defaults[directory.name]
    assert Phi3VProcessor.from_pretrained(directory, num_crops=1).image_processor.num_crops == 1


def test_saved_processor_gives_the_same_inputs(processor: Phi3VProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    text = "<|user|>\n<|image_1|>\nКакова цена? €1,290</s>  x<|end|>\n<|assistant|>\n"
    before, after = (one(text=text, images=golden_image("small")) for one in (processor, again))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("case", golden()["processor"], ids=lambda case: case["key"])
def test_pixels_have_the_published_shape(case: dict[str, Any]) -> None:
    pixels = Phi3VImageProcessor(num_crops=case["num_crops"]).preprocess(golden_image(case["image"]))["pixel_values"]
    assert list(pixels.shape) == case["shape"]


@pytest.mark.parametrize("case", golden()["processor"], ids=lambda case: case["key"])
def test_token_counts_are_the_published_ones(case: dict[str, Any]) -> None:
    rows, columns = (side // 336 for side in case["image_size"])
    assert image_tokens(rows, columns, 144) == case["num_img_tokens"]


def test_batch_decode_reads_generated_ids(processor: Phi3VProcessor) -> None:
    answer = np.array(golden()["model"][0]["answer_ids"])
    assert processor.batch_decode([answer], skip_special_tokens=True) == [" A coat."]
