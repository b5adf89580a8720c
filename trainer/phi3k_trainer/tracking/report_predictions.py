"""Predictions as cards: the pictures, and each field with what it should have been."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from phi3k_trainer.errors import DataError
from phi3k_trainer.evaluation.fields import read_number
from phi3k_trainer.evaluation.metrics import TOLERANCE
from phi3k_trainer.evaluation.predictions import Prediction
from phi3k_trainer.page.html import Html, element, join
from phi3k_trainer.page.html import thumbnail as embedded
from phi3k_trainer.tracking.thumbnails import thumbnail

SHOWN = 12
EDGE = 112
"""Longer edge of a picture in CSS pixels."""


def prediction_cards(predictions: Sequence[Prediction], kinds: Mapping[str, str], max_pixels: int) -> Html:
    """The first rows, then rows with a mistake.

    Args:
        predictions: All predictions of an evaluation.
        kinds: Kind of every field; a number within TOLERANCE of the target counts as right.
        max_pixels: Larger pictures are not decoded.
    """
    faulty = (one for one in predictions if not all(_right(one, name, kind) for name, kind in kinds.items()))
    first = predictions[:SHOWN]
    wrong = [one for one in islice(faulty, SHOWN) if one not in first]
    parts = [_grid(first, kinds, max_pixels)]
    if wrong:
        parts += [element("h3", {"class": "part"}, "More rows with a mistake"), _grid(wrong, kinds, max_pixels)]
    return join(parts)


def _grid(predictions: Sequence[Prediction], kinds: Mapping[str, str], max_pixels: int) -> Html:
    return element("div", {"class": "predictions"}, *(_card(one, kinds, max_pixels) for one in predictions))


def _card(prediction: Prediction, kinds: Mapping[str, str], max_pixels: int) -> Html:
    pictures = element("div", {"class": "pictures"}, *(_picture(path, max_pixels) for path in prediction.images))
    if prediction.answer_fields is None:
        said = [element("dt", None, "answer (not in the template's form)"), _answer(prediction.answer, False, None)]
    else:
        said = []
        for name, kind in kinds.items():
            right = _right(prediction, name, kind)
            wanted, given = prediction.target_fields[name], prediction.answer_fields.get(name, "")
            said += [
                element("dt", None, name),
                _answer(given, right, wanted if wanted.strip() != given.strip() else None),
            ]
    return element("div", {"class": "prediction", "title": prediction.prompt}, pictures, element("dl", None, *said))


def _answer(given: str, right: bool, wanted: str | None) -> Html:
    correction = element("span", {"class": "wanted"}, f"in the data: {wanted}") if wanted is not None else Html()
    return element("dd", {"class": "right" if right else "wrong"}, given, correction)


def _right(prediction: Prediction, name: str, kind: str) -> bool:
    if prediction.answer_fields is None or name not in prediction.answer_fields:
        return False
    wanted, given = prediction.target_fields[name], prediction.answer_fields[name]
    target, answer = read_number(wanted), read_number(given)
    if kind == "number" and target is not None and answer is not None:
        return abs(answer - target) <= TOLERANCE * abs(target)
    return wanted.strip() == given.strip()


def _picture(path: Path, max_pixels: int) -> Html:
    try:
        return embedded(thumbnail(path, 2 * EDGE, max_pixels=max_pixels), path.name, edge=EDGE)
    except (OSError, DataError):
        return element("span", {"class": "wanted"}, "picture gone")
