"""Which of several evaluations is the best, by one of their scores."""

from collections.abc import Sequence

from phi3k_trainer.data.dataset import Example
from phi3k_trainer.errors import RecipeError
from phi3k_trainer.evaluation.evaluate import AnswerReader, Evaluation
from phi3k_trainer.evaluation.fields import field_kinds
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.training import FIELD_SCORES, WHOLE_ANSWER_SCORES

LOWER_IS_BETTER = ("mae", "mape", "median_ape")


def score_of(evaluation: Evaluation, score: str) -> float | None:
    """The value of `export.score` in an evaluation; None where it is not defined there, as an error of no number is."""
    return evaluation.metrics().get(f"eval/{score}")


def is_better(score: str, value: float, than: float) -> bool:
    """Whether `value` is the better one."""
    return value < than if score.rpartition("/")[2] in LOWER_IS_BETTER else value > than


def check_score(recipe: Recipe, train: Sequence[Example]) -> None:
    """Refuse, before the first step, an export.score that the fields of these training rows don't have.

    Raises:
        RecipeError: naming the scores there are.
    """
    score = recipe.export.score
    if score is None:
        return
    reader = AnswerReader(recipe)
    kinds = field_kinds([reader.target_fields(example) for example in train], recipe.evaluation.categories)
    there = [*WHOLE_ANSWER_SCORES, *(f"{field}/{name}" for field, kind in kinds.items() for name in FIELD_SCORES[kind])]
    if score not in there:
        raise RecipeError(f"no evaluation has the export.score '{score}': use one of {', '.join(there)}")
