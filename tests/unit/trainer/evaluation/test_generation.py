"""Answers in batches are the answers one would get alone. A real tiny model with random weights answers."""

import copy
import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from phi3k_trainer.data.dataset import Example, StoredImage
from phi3k_trainer.data.encoding import Encoder
from phi3k_trainer.distributed.processes import Processes
from phi3k_trainer.errors import DataError
from phi3k_trainer.evaluation.evaluate import Evaluation, evaluate, with_shuffled_pictures
from phi3k_trainer.evaluation.generation import Generator, Question, StoppedError
from phi3k_trainer.evaluation.predictions import read_predictions
from phi3k_trainer.model.language import LongRotaryEmbedding
from phi3k_trainer.model.loading import load_model
from phi3k_trainer.model.tiny import build_tiny
from phi3k_trainer.prompts.conversation import Turn
from phi3k_trainer.prompts.tokenizer import load_tokenizer
from phi3k_trainer.recipe import Recipe, parse_recipe
from phi3k_trainer.recipe.model import TinySection
from tests.held_pictures import counted_pictures

TITLES = ("Red Wool Coat", "Blue Silk Scarf", "Green Leather Bag", "Yellow Cotton Shirt", "Black Suede Boots")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return parse_recipe(
        """
        apiVersion: phi3k/v1
        name: asked
        model: {base: tiny, dtype: float32, num_crops: 2}
        data: {source: sample, prompt: "What is it?", answer: "Product: {title}, Category: {kind}, Price: {price}"}
        evaluation: {categories: [kind], max_samples: 4}
        """
    )


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """Rows with one picture, none and two, of different shapes and lengths of question."""
    directory = tmp_path_factory.mktemp("pictures")
    numbers = np.random.default_rng(0)
    rows = []
    for number, title in enumerate(TITLES):
        images = []
        for place in range((1, 0, 2, 1, 1)[number]):
            path = directory / f"{number}-{place}.png"
            size = ((200, 100), (90, 90))[place]
            Image.fromarray(numbers.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(path)
            images.append(StoredImage(path, hashlib.sha256(path.read_bytes()).hexdigest(), *size))
        tags = "".join(f"<|image_{place + 1}|>\n" for place in range(len(images)))
        fields = {"title": title, "kind": title.split()[-1], "price": f"{100 * (number + 1)}.0"}
        question = tags + "What is it? " * (1 + number)
        answer = f"Product: {title}, Category: {fields['kind']}, Price: {fields['price']}"
        rows.append(Example(str(number), (Turn("user", question), Turn("assistant", answer)), tuple(images), fields))
    return rows


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory, examples: list[Example], recipe: Recipe) -> Generator:
    section = TinySection(hidden_size=32, num_layers=2, vision_hidden_size=32, vision_num_layers=2, patch_size=84)
    texts = [turn.text for example in examples for turn in example.turns]
    directory = build_tiny(section, texts, 0, tmp_path_factory.mktemp("model") / "base")
    model, tokenizer = load_model(directory, dtype=torch.float32), load_tokenizer(directory)
    encoder = Encoder(tokenizer, model.config, num_crops=2, max_pixels=10**6)
    return Generator(model, encoder, tokenizer, 12, 5, Processes(0, 1, torch.device("cpu")), nullcontext)


def questions(examples: list[Example]) -> list[Question]:
    return [Question(example.key, example.turns[:-1], example.images) for example in examples]


def test_an_answer_does_not_depend_on_its_batch(generator: Generator, examples: list[Example]) -> None:
    alone = replace(generator, batch_size=1).answers(questions(examples))
    assert len(set(alone)) > 1, "questions with different answers"
    assert all(answer for answer in alone)
    assert generator.answers(questions(examples)) == alone
    assert replace(generator, batch_size=2).answers(questions(examples)) == alone


def test_an_answer_ends_before_its_stop_token(generator: Generator, examples: list[Example]) -> None:
    asked = questions(examples[:1])
    whole = generator.answers(asked)[0]
    tokens = generator.tokenizer.encode(whole, add_special_tokens=False)
    stop = generator.tokenizer.convert_tokens_to_ids("<|end|>")
    weight = generator.model.lm_head.weight
    before = weight.detach().clone()
    try:
        with torch.no_grad():  # where the model would say its second new token, it now ends even more gladly
            later = next(token for token in tokens if token != tokens[0])
            weight[stop] = weight[later] * 1.5
        ended = generator.answers(asked)[0]
    finally:
        with torch.no_grad():
            weight.copy_(before)
    assert whole.startswith(ended)
    assert len(ended) < len(whole)


def test_an_evaluation_holds_the_pictures_of_one_batch_however_many_rows_it_has(
    generator: Generator, examples: list[Example], recipe: Recipe
) -> None:
    rows = [replace(examples[0], key=str(number)) for number in range(12)]
    asking = replace(generator, batch_size=2, max_new_tokens=1)
    longer = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"max_samples": 12})})
    with counted_pictures() as pictures:
        evaluate(asking, rows, rows, longer, step=1, blind=True)
    assert pictures.decoded == 2 * len(rows), "for the answers and for the blind control"
    assert pictures.most <= 2 * asking.batch_size, "one batch, and the next before it is let go"
    assert pictures.held == 0


def test_a_process_decodes_the_pictures_of_its_own_questions_alone(
    generator: Generator, examples: list[Example]
) -> None:
    class Second(Processes):
        """The second of two processes, whose peer is not there."""

        def sum(self, values: Sequence[float]) -> list[float]:
            return list(values)

    rows = [replace(examples[0], key=str(number)) for number in range(8)]
    second = replace(generator, batch_size=2, max_new_tokens=1, processes=Second(1, 2, torch.device("cpu")))
    with counted_pictures() as pictures:
        answered = second._own_answers(questions(rows))
    assert sorted(answered) == [2, 3, 6, 7]
    assert pictures.decoded == 4


def test_the_model_trains_on_afterwards(generator: Generator, examples: list[Example]) -> None:
    generator.model.train()
    try:
        generator.answers(questions(examples[:1]))
        assert generator.model.training
    finally:
        generator.model.eval()


def test_being_told_to_stop_is_noticed_between_batches(generator: Generator, examples: list[Example]) -> None:
    looks = iter([False, True])
    with pytest.raises(StoppedError):
        replace(generator, batch_size=2, should_stop=lambda: next(looks)).answers(questions(examples))


def test_rows_that_leave_the_original_window_share_a_batch_only_with_rows_that_leave_it_at_the_same_token(
    generator: Generator,
) -> None:
    window = generator.model.config.original_max_position_embeddings
    lengths = [10, window, 20, window + 7, window - 11, window - 10, window, window + 1]
    batches = replace(generator, max_new_tokens=12)._batches(lengths)
    assert batches == [[3, 7], [1, 6], [5], [4, 2, 0]]


def test_an_answer_does_not_depend_on_when_others_leave_the_original_window(generator: Generator) -> None:
    asked = [Question(str(count), (Turn("user", "What is it? " * count),), ()) for count in (6, 7, 8)]
    lengths = [generator.encoder.prompt_length(one.turns, one.images) for one in asked]
    model = copy.deepcopy(generator.model)
    model.config.original_max_position_embeddings = max(lengths) + 1
    model.config.rope_parameters["long_factor"] = [1.0 + index / 4 for index in range(16)]
    model.model.rotary_emb = LongRotaryEmbedding(model.config)
    asking = replace(generator, model=model, max_new_tokens=12)
    alone = replace(asking, batch_size=1).answers(asked)
    assert asking.answers(asked) == alone
    assert generator.answers(asked) != alone, "the long factors make no difference here"


def test_an_evaluation_is_written_and_read_back(
    generator: Generator, examples: list[Example], recipe: Recipe, tmp_path: Path
) -> None:
    evaluated = evaluate(generator, examples, examples, recipe, step=7, blind=True)
    evaluated.write(tmp_path)
    assert Evaluation.read(tmp_path / "evaluation.json") == evaluated.evaluation
    assert tuple(read_predictions(tmp_path / "predictions" / "step-7.jsonl")) == evaluated.predictions
    evaluation = evaluated.evaluation
    assert (evaluation.samples, evaluation.train_samples) == (4, 5)
    assert {name: scores["kind"] for name, scores in evaluation.fields.items()} == {
        "title": "text",
        "kind": "category",
        "price": "number",
    }
    assert evaluation.blind is not None
    assert evaluation.blind.keys() == evaluation.baselines.keys() == evaluation.fields.keys()
    assert evaluation.baselines["price"]["answer"] == "300"


def test_a_model_that_answers_from_the_data_scores_full_marks(
    generator: Generator, examples: list[Example], recipe: Recipe
) -> None:
    class Oracle(Generator):
        def answers(self, questions: object) -> list[str]:  # noqa: ARG002
            return [example.turns[-1].text for example in examples[:4]]

    evaluation = evaluate(Oracle(**generator.__dict__), examples, examples, recipe, step=1, blind=False).evaluation
    metrics = evaluation.metrics()
    assert metrics["eval/exact_match"] == metrics["eval/kind/accuracy"] == metrics["eval/title/chrf"] == 1
    assert metrics["eval/price/median_ape"] == 0
    assert evaluation.blind is None


def test_the_blind_control_asks_the_same_about_other_pictures(examples: list[Example]) -> None:
    shuffled = with_shuffled_pictures(examples, seed=0)
    assert [example.turns for example in shuffled] == [example.turns for example in examples]
    for number in (0, 3, 4):
        assert shuffled[number].images != examples[number].images


def test_no_held_out_row_is_an_error(generator: Generator, examples: list[Example], recipe: Recipe) -> None:
    with pytest.raises(DataError, match="held-out"):
        evaluate(generator, examples, [], recipe, step=1, blind=False)
