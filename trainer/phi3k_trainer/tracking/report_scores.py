"""The scores of an evaluation as the report shows them: big numbers beside the blind control and the baseline."""

from collections.abc import Mapping
from dataclasses import dataclass

from phi3k_trainer.evaluation.evaluate import Evaluation
from phi3k_trainer.evaluation.metrics import Scores
from phi3k_trainer.page.html import Html, element, table


@dataclass(frozen=True)
class Headline:
    """Which metric stands for a kind of field."""

    metric: str
    words: str
    compared: str
    """The share that the bars compare."""


HEADLINES: Mapping[str, Headline] = {
    "category": Headline("accuracy", "accuracy", "accuracy"),
    "text": Headline("exact_match", "exactly right", "exact_match"),
    "number": Headline("median_ape", "median error (bars: share within 10 %)", "within_10_percent"),
}

WORDS: Mapping[str, str] = {
    "parsed": "answers that could be read",
    "exact_match": "exact match",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "chrf": "character F-score (chrF)",
    "mae": "mean absolute error",
    "mape": "mean relative error",
    "median_ape": "median relative error",
    "within_10_percent": "within 10 %",
}
ABSOLUTE = frozenset({"mae"})


def score_cards(evaluation: Evaluation) -> Html:
    """A card for each field: its headline, and bars for the model, the blind control and the baseline."""
    return element("div", {"class": "scores"}, *(_card(name, evaluation) for name in evaluation.fields))


def _card(name: str, evaluation: Evaluation) -> Html:
    scores = evaluation.fields[name]
    headline = HEADLINES[str(scores["kind"])]
    rivals = {"model": scores, "baseline": evaluation.baselines[name]}
    if evaluation.blind is not None:
        rivals = {"model": scores, "blind": evaluation.blind[name], "baseline": evaluation.baselines[name]}
    bars = (_bar(rival, values[headline.compared], ink) for ink, (rival, values) in enumerate(rivals.items()))
    return element(
        "div",
        {"class": "score"},
        element("h3", None, name),
        element("div", {"class": "what"}, headline.words),
        element("div", {"class": "big"}, percent(scores[headline.metric])),
        *bars,
    )


def _bar(rival: str, share: float | str | None, ink: int) -> Html:
    width = f"width:{100 * share:.1f}%" if isinstance(share, float | int) else "width:0"
    fill = element("span", {"class": f"fill ink-{ink}", "style": width})
    return element(
        "div",
        {"class": "rival"},
        element("span", None, rival),
        element("span", {"class": "track"}, fill),
        element("b", None, percent(share)),
    )


def score_table(evaluation: Evaluation) -> Html:
    """Every metric of every field, folded away; a category's exact match is its accuracy and stands there once."""
    blind: Mapping[str, Scores] = evaluation.blind or {}
    rows = [
        (name, WORDS[metric], *(_written(metric, source.get(name, {}).get(metric)) for source in
                                (evaluation.fields, blind, evaluation.baselines)))
        for name, scores in evaluation.fields.items()
        for metric in scores
        if metric != "kind" and (metric, scores["kind"]) != ("exact_match", "category")
    ]  # fmt: skip
    answers = (
        (name, "the baseline's one answer", None, None, str(scores["answer"]))
        for name, scores in evaluation.baselines.items()
    )
    numbers = table(("field", "metric", "model", "blind", "baseline"), [*rows, *answers])
    return element("details", None, element("summary", None, "All metrics"), numbers)


def percent(share: float | str | None) -> str:
    """A share or relative error for people; a dash where it is not defined."""
    return f"{100 * share:.1f} %" if isinstance(share, float | int) else "–"


def _written(metric: str, value: float | str | None) -> str:
    return f"{value:,.2f}" if metric in ABSOLUTE and isinstance(value, float | int) else percent(value)
