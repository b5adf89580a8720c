"""What a person wants to know about prepared data before training on it for hours."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from phi3k_trainer.data.answer_lengths import AnswerLengths
from phi3k_trainer.data.dataset import Dataset, Example
from phi3k_trainer.data.encoding import Encoder, measure_examples
from phi3k_trainer.data.splits import groups_of
from phi3k_trainer.images.grid import hd_shape
from phi3k_trainer.model.loading import hub_id, load_config
from phi3k_trainer.model.tiny import tiny_config
from phi3k_trainer.prompts.conversation import render
from phi3k_trainer.prompts.tokenizer import load_tokenizer
from phi3k_trainer.prompts.vocabulary import train_tokenizer
from phi3k_trainer.recipe.model import TINY
from phi3k_trainer.recipe.recipe import Recipe

NOT_COUNTED = (
    "Tokens are not counted, because the tokenizer of model.base is not on this machine: whether "
    "evaluation.max_new_tokens {} is enough for the answers is not known. Set model.base to a directory that "
    "has the tokenizer, or look for the same note when training starts."
)
_SHARED_PICTURE = 0.1  # share of the rows from which one picture in common is worth a remark
_TILTED = 1.5  # the evaluation may be this many times larger or smaller than asked for, without a remark


@dataclass(frozen=True)
class Spread:
    """Smallest, median and largest of some numbers."""

    smallest: int
    median: int
    largest: int

    @classmethod
    def of(cls, numbers: Iterable[int]) -> "Spread | None":
        """The spread of `numbers`; None when there are none."""
        ordered = sorted(numbers)
        return cls(ordered[0], ordered[len(ordered) // 2], ordered[-1]) if ordered else None


@dataclass(frozen=True)
class DataCheck:
    """Counts, sizes and the first rows of a data set."""

    rows: int
    """Rows in the files: the sum of the next five."""
    train: int
    evaluation: int
    repeated: int
    quarantined: int
    beyond_max_rows: int
    text_only: int
    pictures: int
    different_pictures: int
    different_answers: int
    reasons: Mapping[str, int]
    """Rows set aside by reason; with a model's tokenizer also those that can't be encoded or are too long."""
    quarantine: str
    """The file that lists the rows set aside."""
    digest: str
    answer_characters: Spread | None
    picture_width: Spread | None
    picture_height: Spread | None
    crops: Spread | None
    """336-pixel views a row, global views included."""
    tokens: Spread | None
    """Positions a row; None without a tokenizer."""
    remarks: tuple[str, ...]
    """What was not read, and what may be a mistake."""
    shown: tuple[str, ...]
    """The first rows for training, as the model reads them."""

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON takes it."""
        return asdict(self)


def check_dataset(
    dataset: Dataset,
    num_crops: int,
    encoder: Encoder | None = None,
    *,
    max_tokens: int,
    eval_fraction: float,
    max_new_tokens: int,
) -> DataCheck:
    """Sum up a prepared data set.

    Args:
        dataset: What `prepare_dataset` returned.
        num_crops: Crops a picture may have (`model.num_crops`).
        encoder: Measures the rows in the model's own tokens, where its tokenizer is on this machine.
        max_tokens: A longer row will be set aside (`data.max_tokens`).
        max_new_tokens: Tokens that a generated answer may have (`evaluation.max_new_tokens`).
        eval_fraction: Share of the groups that was to be held out (`data.eval_fraction`).
    """
    train, evaluation = tuple(dataset.train), tuple(dataset.evaluation)
    rejections = dataset.quarantine.rejections
    num_tokens: list[int] | None = None
    lengths: str | None = NOT_COUNTED.format(max_new_tokens) if evaluation else None
    if encoder is not None:
        measured = [measure_examples(encoder, side, max_tokens) for side in (train, evaluation)]
        train, evaluation = (side.examples for side in measured)
        rejections = (*rejections, *(rejection for side in measured for rejection in side.rejections))
        num_tokens = [int(number) for side in measured for number in side.num_tokens]
        lengths = AnswerLengths.of(measured[1].num_answer_tokens, max_new_tokens).remark()
    examples = (*train, *evaluation)
    images = [image for example in examples for image in example.images]
    answers = Counter(_answer(example) for example in examples)
    return DataCheck(
        rows=len(examples) + dataset.repeated + len(rejections) + dataset.beyond_max_rows,
        train=len(train),
        evaluation=len(evaluation),
        repeated=dataset.repeated,
        quarantined=len(rejections),
        beyond_max_rows=dataset.beyond_max_rows,
        text_only=sum(not example.images for example in examples),
        pictures=len(images),
        different_pictures=len({image.sha256 for image in images}),
        different_answers=len(answers),
        reasons=dict(Counter(rejection.reason for rejection in rejections).most_common()),
        quarantine=str(dataset.quarantine.path),
        digest=dataset.digest,
        answer_characters=Spread.of(len(answer) for answer in answers.elements()),
        picture_width=Spread.of(image.width for image in images),
        picture_height=Spread.of(image.height for image in images),
        crops=Spread.of(_num_views(example, num_crops) for example in examples),
        tokens=None if num_tokens is None else Spread.of(num_tokens),
        remarks=(
            *dataset.remarks,
            *_remarks(examples, answers),
            *([lengths] if lengths else []),
            *_tilt(dataset, eval_fraction),
        ),
        shown=tuple(render(example.turns) for example in train[:3]),
    )


def encoder_at_hand(recipe: Recipe, dataset: Dataset) -> Encoder | None:
    """The encoder of the recipe's model when it can be had without a download, else None.

    Of a directory and of a repository in the hub's cache it has the tokenizer there; that of the tiny model is made
    from the data's own words, as training makes it.

    Raises:
        DataError, MissingInputError: the directory's tokenizer or configuration is not one of this model.
    """
    if recipe.model.base == TINY:
        texts = (turn.text for example in dataset.train for turn in example.turns)
        tokenizer = train_tokenizer(sorted(texts), recipe.model.tiny.vocabulary_size)
        config = tiny_config(recipe.model.tiny, tokenizer)
    else:
        directory = _directory_at_hand(recipe)
        if directory is None:
            return None
        tokenizer, config = load_tokenizer(directory), load_config(directory)
    return Encoder(tokenizer, config, num_crops=recipe.model.num_crops, max_pixels=recipe.data.max_pixels)


def _directory_at_hand(recipe: Recipe) -> Path | None:
    """The directory of model.base, or of its tokenizer in the hub's cache."""
    directory = Path(recipe.model.base).expanduser()
    if directory.is_dir():
        return directory
    if hub_id(recipe.model.base) is None or recipe.model.base.count("/") != 1:
        return None
    names = ("config.json", "tokenizer.json")
    cached = [try_to_load_from_cache(recipe.model.base, name, revision=recipe.model.revision) for name in names]
    return Path(cached[0]).parent if isinstance(cached[0], str) and isinstance(cached[1], str) else None


def _answer(example: Example) -> str:
    return "\n".join(turn.text for turn in example.turns if turn.role == "assistant")


def _num_views(example: Example, num_crops: int) -> int:
    shapes = (hd_shape(image.width, image.height, num_crops) for image in example.images)
    return sum(1 + rows * columns for rows, columns in shapes)


def _remarks(examples: tuple[Example, ...], answers: Counter[str]) -> Iterable[str]:
    if len(examples) > 1 and len(answers) == 1:
        yield "All rows have the same answer: there is nothing to learn from the pictures."
    shown_by = Counter(sha256 for example in examples for sha256 in {image.sha256 for image in example.images})
    for sha256, count in shown_by.most_common(1):
        if count > max(1, _SHARED_PICTURE * len(examples)):
            yield (
                f"{count} of {len(examples)} rows show the same picture (SHA-256 {sha256[:12]}...), perhaps a "
                "placeholder; they are all on one side of the split."
            )
    if len(examples) > 1 and not shown_by:
        yield "No row has a picture."


def _tilt(dataset: Dataset, eval_fraction: float) -> Iterable[str]:
    """Whether groups of rows that stay together make the evaluation much larger or smaller than asked for."""
    examples = (*dataset.train, *dataset.evaluation)
    share = len(dataset.evaluation) / len(examples)
    if eval_fraction / _TILTED <= share <= eval_fraction * _TILTED:
        return
    groups = Counter(groups_of([(example.key, [image.sha256 for image in example.images]) for example in examples]))
    largest = max(groups.values())
    if largest > 1:
        yield (
            f"{share:.1%} of the rows are held out, where data.eval_fraction is {eval_fraction:.1%}: rows that share a "
            f"key or a picture stay together, which makes {len(groups):,} groups, the largest of {largest:,} rows."
        )
