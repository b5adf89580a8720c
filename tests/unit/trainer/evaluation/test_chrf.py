"""The character n-gram F-score agrees with sacreBLEU's (2.x, order 6, beta 2, no word n-grams, no smoothing)."""

import pytest

from phi3k_trainer.evaluation.chrf import chrf

SACREBLEU = [
    ("Purple Cotton Boots", "Purple Striped Leather Boots", 0.2897953764600698),
    ("abc", "abd", 0.38888888888888884),
    ("Beige Coat", "Beige Checked Cotton Shirt", 0.2157142378946298),
    ("x", "Parka", 0.0),
    ("Grüne Jacke", "Grüner Jackenrock", 0.3749106281704841),
    ("a b c d e f g", "abcdefg", 1.0),
]


@pytest.mark.parametrize(("answer", "target", "expected"), SACREBLEU)
def test_scores_are_those_of_sacrebleu(answer: str, target: str, expected: float) -> None:
    assert chrf(answer, target) == pytest.approx(expected, abs=1e-12)


def test_an_empty_answer_scores_nothing() -> None:
    assert chrf("", "Parka") == 0
