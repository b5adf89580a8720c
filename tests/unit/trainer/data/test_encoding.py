from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phi3k_trainer.data.dataset import Example, StoredImage
from phi3k_trainer.data.encoding import Encoder, PictureCache, measure_examples
from phi3k_trainer.errors import DataError
from phi3k_trainer.model.tiny import tiny_config
from phi3k_trainer.prompts.conversation import Turn
from phi3k_trainer.prompts.vocabulary import train_tokenizer
from phi3k_trainer.recipe.model import TinySection


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    tokenizer = train_tokenizer(["What colour?", "It is green."], 300)
    config = tiny_config(TinySection(vocabulary_size=300, patch_size=84), tokenizer)
    return Encoder(tokenizer, config, num_crops=4, max_pixels=10**6)


def example(directory: Path, *sizes: tuple[int, int], answer: str = "It is green.") -> Example:
    images = []
    for number, size in enumerate(sizes):
        path = directory / f"{number}.png"
        Image.new("RGB", size, "green").save(path)
        images.append(StoredImage(path, f"{directory.name}-{number}", *size))
    tags = "".join(f"<|image_{number + 1}|>\n" for number in range(len(sizes)))
    return Example("row", (Turn("user", f"{tags}What colour?"), Turn("assistant", answer)), tuple(images), {})


@pytest.mark.parametrize("sizes", [(), ((60, 60),), ((900, 300), (20, 30))])
def test_the_measure_without_pixels_is_the_size_of_the_encoding(
    encoder: Encoder, tmp_path: Path, sizes: tuple[tuple[int, int], ...]
) -> None:
    row = example(tmp_path, *sizes)
    measure, encoded = encoder.measure(row), encoder.encode(row)
    assert measure.num_tokens == len(encoded.input_ids)
    assert measure.num_labels == (encoded.labels != -100).sum()
    assert [image.shape[0] % 336 for image in encoded.images] == [0] * len(sizes)


def test_the_last_answer_is_measured_with_its_end(encoder: Encoder, tmp_path: Path) -> None:
    row = example(tmp_path)
    asked_again = Example("row", (*row.turns, Turn("user", "Sure?"), Turn("assistant", "It")), (), {})
    whole, encoded = encoder.measure(row), encoder.encode(row)
    assert whole.num_answer_tokens == (encoded.labels != -100).sum()
    assert encoder.measure(asked_again).num_answer_tokens < whole.num_answer_tokens


def test_rows_that_are_too_long_or_have_no_answer_are_set_aside(encoder: Encoder, tmp_path: Path) -> None:
    good, long = example(tmp_path), example(tmp_path, answer="It is green. " * 50)
    silent = Example("silent", good.turns[:1], (), {})

    measured = measure_examples(encoder, [good, long, silent], max_tokens=60)

    assert measured.examples == (good,)
    assert [(one.key, one.reason) for one in measured.rejections] == [("row", "too_long"), ("silent", "not_encodable")]


def test_a_picture_gone_bad_since_the_preparation_names_its_row(encoder: Encoder, tmp_path: Path) -> None:
    row = example(tmp_path, (40, 40))
    row.images[0].path.write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    with pytest.raises(DataError, match=r"row row: its picture .*0\.png"):
        encoder.encode(row)


def test_the_cache_forgets_the_pictures_not_used_for_longest() -> None:
    cache = PictureCache(max_bytes=20)
    pictures = {name: np.full((1, 3, 3), index, np.uint8) for index, name in enumerate("abc")}
    cache.put("a", pictures["a"])
    cache.put("b", pictures["b"])
    assert cache.get("a") is pictures["a"]
    cache.put("c", pictures["c"])
    assert cache.get("b") is None
    assert cache.get("a") is pictures["a"]
