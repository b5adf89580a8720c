"""Evaluation of a model on held-out rows: its answers, their scores, the blind control and the baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import ConfigDict, with_config

from phi3k_trainer.data.answer_lengths import AnswerLengths
from phi3k_trainer.data.dataset import Example, StoredImage
from phi3k_trainer.errors import DataError
from phi3k_trainer.evaluation.blind import shuffled_pictures
from phi3k_trainer.evaluation.fields import Kind, field_kinds
from phi3k_trainer.evaluation.generation import Generator, Question
from phi3k_trainer.evaluation.metrics import Scores, baseline_scores, score_field
from phi3k_trainer.evaluation.predictions import Prediction, write_predictions
from phi3k_trainer.files import convert, damage_named, encode_json, read_json, write_atomically
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.run_directory import EVALUATION, REMEDIES, RunDirectory

WHOLE_ANSWER = "answer"
"""The one field of data without an answer template."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Evaluation:
    """The content of evaluation.json."""

    run: str
    """Name of the recipe."""
    step: int
    """Optimiser step of the weights."""
    samples: int
    """Held-out rows that were answered."""
    train_samples: int
    """Training rows that the baselines know."""
    parsed: float
    """Share of the answers that have the form of the recipe's template."""
    exact_match: float
    """Share of the answers that are the target, word for word."""
    fields: Mapping[str, Scores]
    """Scores by field of the answer."""
    blind: Mapping[str, Scores] | None
    """The same with the pictures shuffled between rows; None where that was not asked for."""
    baselines: Mapping[str, Scores]
    """The same for one constant answer."""

    lengths: AnswerLengths | None = None
    """How many of the answers in the data can't be generated; None in the files of versions that did not count them."""

    def metrics(self) -> dict[str, float]:
        """Every number under its name for trackers: `eval/<field>/<metric>`, `eval/blind/<field>/<metric>`."""
        flat = {"eval/parsed": self.parsed, "eval/exact_match": self.exact_match}
        for prefix, fields in (("eval", self.fields), ("eval/blind", self.blind or {})):
            for field, scores in fields.items():
                values = {name: value for name, value in scores.items() if isinstance(value, float)}
                flat |= {f"{prefix}/{field}/{name}": value for name, value in values.items()}
        return flat

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read evaluation.json. Raises MissingInputError when it is not there, or holds something else."""
        with damage_named(path, REMEDIES[EVALUATION]):
            return convert(cls, read_json(path, REMEDIES[EVALUATION]))


@dataclass(frozen=True)
class ScoredAnswers:
    """An evaluation and the answers it is made from."""

    evaluation: Evaluation
    predictions: tuple[Prediction, ...]

    def write(self, run_directory: Path) -> None:
        """Write evaluation.json and predictions/step-N.jsonl into a run's directory.

        Raises:
            StorageError: the disk does not take them.
        """
        directory = RunDirectory(run_directory)
        write_predictions(directory.predictions(self.evaluation.step), self.predictions)
        write_atomically(directory.evaluation, encode_json(self.evaluation, indent=2), "checkpoint.directory")


def evaluate(
    generator: Generator,
    train: Sequence[Example],
    held_out: Sequence[Example],
    recipe: Recipe,
    *,
    step: int,
    blind: bool,
    answered: Sequence[Prediction] | None = None,
) -> ScoredAnswers:
    """Evaluate on the held-out rows that the recipe uses; all processes call it together and get the same result.

    Args:
        generator: The model to ask.
        train: Training rows, for the kinds of fields and the baselines.
        held_out: Held-out rows, at least one.
        recipe: The recipe in force.
        step: Optimiser step of the weights.
        blind: Whether to ask again with the pictures shuffled.
        answered: The answers for the held-out rows, where these weights have given them already.

    Raises:
        DataError: there is no held-out row.
        StoppedError: the run was asked to stop.
    """
    if not held_out:
        raise DataError("there is no held-out row to evaluate on: raise data.eval_fraction or add rows")
    examples = held_out[: recipe.evaluation.max_samples]
    answer_tokens = np.array([generator.encoder.measure(one).num_answer_tokens for one in examples], np.int64)
    reader = AnswerReader(recipe)
    predictions = answered or predict_examples(generator, examples, reader)
    training = [reader.target_fields(example) for example in train]
    kinds = field_kinds(training, recipe.evaluation.categories)
    blind_scores = None
    if blind:
        shuffled = with_shuffled_pictures(examples, recipe.training.seed)
        blind_scores = _score(predict_examples(generator, shuffled, reader), kinds)
    evaluation = Evaluation(
        run=recipe.name,
        step=step,
        samples=len(examples),
        train_samples=len(train),
        parsed=sum(one.answer_fields is not None for one in predictions) / len(predictions),
        exact_match=sum(one.answer.strip() == one.target.strip() for one in predictions) / len(predictions),
        fields=_score(predictions, kinds),
        blind=blind_scores,
        baselines={
            name: baseline_scores(
                kind, [row[name] for row in training], [one.target_fields[name] for one in predictions]
            )
            for name, kind in kinds.items()
        },
        lengths=AnswerLengths.of(answer_tokens, recipe.evaluation.max_new_tokens),
    )
    return ScoredAnswers(evaluation, tuple(predictions))


class AnswerReader:
    """Reads the fields of answers by the recipe's template."""

    def __init__(self, recipe: Recipe) -> None:
        """Read answers as `recipe.data.answer` writes them."""
        self._template = recipe.data.answer_template

    def target_fields(self, example: Example) -> Mapping[str, str]:
        """The fields of the answer in the data."""
        return example.fields if self._template else {WHOLE_ANSWER: answer_of(example)}

    def answer_fields(self, answer: str) -> Mapping[str, str] | None:
        """The fields of a given answer, None when it has another form."""
        return self._template.parse(answer.strip()) if self._template else {WHOLE_ANSWER: answer}


def predict_examples(generator: Generator, examples: Sequence[Example], reader: AnswerReader) -> list[Prediction]:
    """Ask for the last answer of every example.

    Raises:
        StoppedError: the run was asked to stop.
    """
    answers = generator.answers([Question(one.key, one.turns[:-1], one.images) for one in examples])
    return [
        Prediction(
            key=example.key,
            images=tuple(image.path for image in example.images),
            prompt=example.turns[-2].text,
            target=answer_of(example),
            answer=answer,
            target_fields=dict(reader.target_fields(example)),
            answer_fields=reader.answer_fields(answer),
        )
        for example, answer in zip(examples, answers, strict=True)
    ]


def with_shuffled_pictures(examples: Sequence[Example], seed: int) -> list[Example]:
    """The same questions, each about other pictures (see `shuffled_pictures`)."""
    others = shuffled_pictures([[image.sha256 for image in example.images] for example in examples], seed)
    return [_with_images(example, examples[other].images) for example, other in zip(examples, others, strict=True)]


def answer_of(example: Example) -> str:
    """The answer in the data: the assistant's last words."""
    return example.turns[-1].text


def _with_images(example: Example, images: tuple[StoredImage, ...]) -> Example:
    return Example(example.key, example.turns, images, example.fields)


def _score(predictions: Sequence[Prediction], kinds: Mapping[str, Kind]) -> dict[str, Scores]:
    return {
        name: score_field(
            kind,
            [one.target_fields[name] for one in predictions],
            [(one.answer_fields or {}).get(name) for one in predictions],
        )
        for name, kind in kinds.items()
    }
