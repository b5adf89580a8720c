"""Scores of one field over all rows, and the answer a model would give that never looks."""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, median

from phi3k_trainer.evaluation.chrf import chrf
from phi3k_trainer.evaluation.fields import Kind, read_number

Scores = dict[str, float | str | None]
"""`kind` and the field's metrics; None where a metric is not defined, such as a relative error without a target."""

TOLERANCE = 0.10


def score_field(kind: Kind, targets: Sequence[str], answers: Sequence[str | None]) -> Scores:
    """Score a field.

    Every kind has `parsed`, the share of answers from which the field (for a number: a number) could be read, and
    `exact_match`, the share of rows with the target's very text (for a number: its value). Text has `chrf`, the mean
    over rows; a category `accuracy` and `macro_f1`; a number what `number_scores` says.

    Args:
        kind: What the field is.
        targets: Values in the data, at least one.
        answers: Values in the answers, in the same order; None where the answer did not parse, which counts as wrong.
    """
    given = ["" if answer is None else answer.strip() for answer in answers]
    wanted = [target.strip() for target in targets]
    if kind == "number":
        return {"kind": kind, **number_scores(wanted, given)}
    scores: Scores = {
        "kind": kind,
        "parsed": fmean(answer is not None for answer in answers),
        "exact_match": fmean(one == other for one, other in zip(given, wanted, strict=True)),
    }
    if kind == "category":
        return {**scores, "accuracy": scores["exact_match"], "macro_f1": macro_f1(wanted, given)}
    return {**scores, "chrf": fmean(chrf(one, other) for one, other in zip(given, wanted, strict=True))}


def macro_f1(targets: Sequence[str], answers: Sequence[str]) -> float:
    """Mean over the categories among the targets of F1 = 2 * hits / (times wanted + times answered)."""
    wanted, answered = Counter(targets), Counter(answers)
    hits = Counter(target for target, answer in zip(targets, answers, strict=True) if target == answer)
    return fmean(2 * hits[name] / (wanted[name] + answered[name]) for name in wanted)


def number_scores(targets: Sequence[str], answers: Sequence[str]) -> Scores:
    """Scores of a number.

    `mae` and `mape` are means over the rows where both are numbers. `median_ape` and `within_10_percent` are over all
    rows whose target is a number, an unreadable answer being infinitely wrong, so that silence is not rewarded.
    A row without a number is answered rightly by no number: it counts for `parsed` and `exact_match` only. Relative
    errors are fractions (0.1 is 10 %) and leave targets of 0 out.
    """
    pairs = [(read_number(target), read_number(answer)) for target, answer in zip(targets, answers, strict=True)]
    errors = [(abs(answer - target), abs(target)) for target, answer in pairs if target is not None is not answer]
    relative = [error / size for error, size in errors if size]
    unreadable = sum(1 for target, answer in pairs if target and answer is None)
    all_relative = [*relative, *[math.inf] * unreadable]
    middle = median(all_relative) if all_relative else math.inf
    same = [
        target == answer if target is not None else wanted == given
        for (target, answer), wanted, given in zip(pairs, targets, answers, strict=True)
    ]
    return {
        "parsed": fmean(
            answer is not None or not (wanted or given)
            for (_, answer), wanted, given in zip(pairs, targets, answers, strict=True)
        ),
        "exact_match": fmean(same),
        "mae": fmean(error for error, _ in errors) if errors else None,
        "mape": fmean(relative) if relative else None,
        "median_ape": middle if math.isfinite(middle) else None,
        "within_10_percent": fmean(error <= TOLERANCE for error in all_relative) if all_relative else None,
    }


def baseline_answer(kind: Kind, training_values: Sequence[str]) -> str:
    """The best constant answer: the median of a number, else the most frequent value (of several, the first by name).

    Args:
        kind: What the field is.
        training_values: The field in the training rows, at least one.
    """
    if kind == "number":
        numbers = [number for value in training_values if (number := read_number(value)) is not None]
        return f"{median(numbers):.17g}"
    counts = Counter(value.strip() for value in training_values)
    return min(counts, key=lambda value: (-counts[value], value))


def baseline_scores(kind: Kind, training_values: Sequence[str], targets: Sequence[str]) -> Scores:
    """The scores of `baseline_answer` on `targets`, with the `answer` itself."""
    answer = baseline_answer(kind, training_values)
    return {**score_field(kind, targets, [answer] * len(targets)), "answer": answer}
