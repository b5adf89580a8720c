"""Batches are made by threads ahead of their step, in order, and few of them are in memory."""

import time
from pathlib import Path

import pytest
from PIL import Image

from phi3k_trainer.data.dataset import Example, StoredImage
from phi3k_trainer.data.encoding import Encoder
from phi3k_trainer.model.configuration import Phi3VConfig
from phi3k_trainer.prompts.conversation import Turn
from phi3k_trainer.prompts.tokenizer import load_tokenizer
from phi3k_trainer.training.loader import BATCHES_AHEAD_PER_THREAD, StepLoader
from tests.held_pictures import counted_pictures

ROWS = 24


@pytest.fixture(scope="module")
def encoder(base: Path) -> Encoder:
    config = Phi3VConfig.from_pretrained(str(base))
    return Encoder(load_tokenizer(base), config, num_crops=1, max_pixels=10**6)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """Rows of one picture each, told apart by how often they ask."""
    directory = tmp_path_factory.mktemp("pictures")
    rows = []
    for number in range(ROWS):
        path = directory / f"{number}.png"
        Image.new("RGB", (40, 30), (number, 0, 0)).save(path)
        turns = (Turn("user", "<|image_1|>\n" + "What colour? " * (1 + number)), Turn("assistant", "It is green."))
        rows.append(Example(str(number), turns, (StoredImage(path, str(number), 40, 30),), {}))
    return rows


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_step_of_many_passes_holds_the_pictures_of_few(
    encoder: Encoder, examples: list[Example], num_threads: int
) -> None:
    one_step = [[[row] for row in range(ROWS)]]
    with counted_pictures() as pictures, StepLoader(one_step, examples, encoder, num_threads) as loader:
        for _ in loader.next_step():
            time.sleep(0.02)  # the threads are faster than the model
    assert pictures.decoded == ROWS
    assert pictures.most <= BATCHES_AHEAD_PER_THREAD * num_threads + 2, "those ahead, the caller's, the one before it"


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_threads_change_neither_the_batches_nor_their_order(
    encoder: Encoder, examples: list[Example], num_threads: int
) -> None:
    steps = [[[0, 1], [2]], [[3]], [[4], [5, 6], []], [[7, 8, 9]]]
    lengths = [encoder.measure(example).num_tokens for example in examples]
    expected = [[sum(lengths[row] for row in ids) for ids in step] for step in steps]
    with StepLoader(steps, examples, encoder, num_threads) as loader:
        assert [[batch.num_tokens for batch in loader.next_step()] for _ in steps] == expected


def test_pictures_are_decoded_once_for_all_epochs_where_there_is_room(
    encoder: Encoder, examples: list[Example]
) -> None:
    two_epochs = [[list(range(ROWS))]] * 2
    caching = encoder.with_cache(ROWS * 336 * 336 * 3)
    with counted_pictures() as pictures, StepLoader(two_epochs, examples, caching, 0) as loader:
        for _ in two_epochs:
            list(loader.next_step())
    assert pictures.decoded == ROWS
