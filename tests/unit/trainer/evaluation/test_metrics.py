"""Scores of fields, worked out by hand."""

import pytest

from phi3k_trainer.evaluation.metrics import baseline_answer, baseline_scores, score_field


def test_text_is_scored_by_exact_match_and_characters() -> None:
    scores = score_field("text", ["Parka", "abd"], ["Parka ", "abc"])
    assert scores["exact_match"] == 0.5
    assert scores["chrf"] == pytest.approx((1 + 0.38888888888888884) / 2)


def test_a_category_is_scored_by_accuracy_and_macro_f1() -> None:
    scores = score_field("category", ["BAGS", "BAGS", "COATS", "HATS"], ["BAGS", "COATS", "COATS", None])
    assert scores["accuracy"] == scores["exact_match"] == 0.5
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert scores["parsed"] == 0.75


def test_numbers_are_scored_by_absolute_and_relative_errors() -> None:
    scores = score_field("number", ["100", "200", "400"], ["109.0", "150", "400.00"])
    assert scores["mae"] == pytest.approx((9 + 50 + 0) / 3)
    assert scores["mape"] == pytest.approx((0.09 + 0.25 + 0) / 3)
    assert scores["median_ape"] == pytest.approx(0.09)
    assert scores["within_10_percent"] == pytest.approx(2 / 3)
    assert scores["exact_match"] == pytest.approx(1 / 3), "400.00 is 400"


def test_an_answer_without_a_number_is_infinitely_wrong() -> None:
    scores = score_field("number", ["100", "100", "100", "100"], ["100", None, "cheap", ""])
    assert scores["parsed"] == 0.25
    assert scores["within_10_percent"] == 0.25
    assert scores["median_ape"] is None
    assert scores["mape"] == 0


def test_a_target_that_is_no_number_has_no_error() -> None:
    scores = score_field("number", ["N.A.", "100"], ["N.A.", "110"])
    assert scores["mae"] == pytest.approx(10)
    assert scores["exact_match"] == 0.5


def test_no_number_is_the_right_answer_where_the_row_has_none() -> None:
    scores = score_field("number", ["", "100", ""], ["", "100", "7"])
    assert (scores["parsed"], scores["exact_match"], scores["within_10_percent"]) == (1, pytest.approx(2 / 3), 1)


def test_a_target_of_zero_has_no_relative_error() -> None:
    scores = score_field("number", ["0"], ["5"])
    assert (scores["mae"], scores["mape"], scores["within_10_percent"]) == (5, None, None)


def test_the_baseline_is_the_median_of_numbers_and_the_most_frequent_of_the_rest() -> None:
    assert baseline_answer("number", ["10", "N.A.", "30", "20.5"]) == "20.5"
    assert baseline_answer("category", ["B", "A", "A ", "B", "C"]) == "A", "of several, the first by name"


def test_the_baseline_is_scored_like_an_answer() -> None:
    scores = baseline_scores("category", ["A", "A", "B"], ["A", "B", "A", "A"])
    assert (scores["answer"], scores["accuracy"]) == ("A", 0.75)
