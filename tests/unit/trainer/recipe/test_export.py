"""The section `export`: what a run could not write at its end is refused when the recipe is read."""

import pytest

from phi3k_trainer.errors import RecipeError
from phi3k_trainer.evaluation.best import LOWER_IS_BETTER
from phi3k_trainer.evaluation.metrics import score_field
from phi3k_trainer.recipe import parse_recipe
from phi3k_trainer.recipe.training import FIELD_SCORES

RECIPE = """
apiVersion: phi3k/v1
name: small
model: {base: tiny}
data: {source: sample, answer: "Product: {title}, Price: {price:.0f}"}
"""


@pytest.mark.parametrize("score", ["exact_match", "parsed", "title/chrf", "price/median_ape"])
def test_a_score_of_the_answer_s_fields_is_taken(score: str) -> None:
    assert parse_recipe(RECIPE, overrides=[f"export.score={score}"]).export.score == score


def test_the_keys_of_a_json_answer_are_its_fields() -> None:
    json = "data.answer={json: {name: '{title}', 'colour?': '{colour}'}}"
    assert parse_recipe(RECIPE, overrides=[json, "export.score=colour/chrf"]).export.score == "colour/chrf"
    with pytest.raises(RecipeError, match=r"the field 'title', which data\.answer does not have"):
        parse_recipe(RECIPE, overrides=[json, "export.score=title/chrf"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["export.score=chrf"], "use exact_match or parsed, or FIELD/METRIC with one of accuracy, chrf"),
        (["export.score=title/bleu"], "use exact_match or parsed"),
        (["export.score=colour/chrf"], "the field 'colour', which data.answer does not have"),
        (["export.score=tit/chrf"], "the field 'tit'"),
        (["export.score=parsed", "evaluation.generate_during_training=false"], "generate_during_training to true"),
        (["export.score=parsed", "data.eval_fraction=0"], "data.eval_fraction above 0"),
        (["export.at_end=true", "data.eval_fraction=0"], "data.eval_fraction above 0"),
        (["export={at_end: true, form: adapter}", "tuning.method=full"], "lose the weights of tuning.method 'full'"),
        (["export={at_end: true, form: adapter}", "tuning.projector=full"], "the weights of tuning.projector 'full'"),
    ],
)
def test_an_export_that_can_t_be_made_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(RECIPE, overrides=changes)


def test_the_last_weights_need_no_held_out_rows() -> None:
    parse_recipe(RECIPE, overrides=["export={at_end: true, weights: last}", "data.eval_fraction=0"])


@pytest.mark.parametrize("kind", ["category", "number", "text"])
def test_the_scores_that_a_recipe_may_name_are_those_of_an_evaluation(kind: str) -> None:
    scores = score_field(kind, ["1", "2"], ["1", "3"])
    assert scores.keys() - {"kind"} == set(FIELD_SCORES[kind])


def test_errors_are_better_when_they_are_lower() -> None:
    assert set(LOWER_IS_BETTER) == {name for name in FIELD_SCORES["number"] if name.endswith(("ae", "ape"))}
