"""Rows between delimiters: quotation marks neither swallow rows nor keep real line breaks from being read."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3k_trainer.data.sources.csv import delimited_rows


def rows(text: str, delimiter: str = ",") -> list[tuple[int, list[str] | str]]:
    return list(delimited_rows(iter(io.StringIO(text, newline="")), delimiter))


def values(text: str, delimiter: str = ",") -> list[list[str]]:
    return [row for _, row in rows(text, delimiter) if not isinstance(row, str)]


def faults(text: str) -> list[tuple[int, str]]:
    return [(number, row) for number, row in rows(text) if isinstance(row, str)]


words = st.text(st.sampled_from('ab ,;"\t\n\r'), max_size=8)
tables = st.integers(2, 4).flatmap(lambda width: st.lists(st.lists(words, min_size=width, max_size=width), max_size=6))


@settings(deadline=None)
@given(tables, st.sampled_from(["\n", "\r\n"]))
def test_what_a_csv_writer_wrote_is_read(table: list[list[str]], ending: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows(table)
    assert values(file.getvalue()) == table


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a,b", '"a, b",c', '"line\nbreak",b', '"a ""b""",']), max_size=6), st.integers(0, 6))
def test_an_unclosed_quotation_mark_costs_its_own_row_alone(lines: list[str], place: int) -> None:
    before, behind = lines[:place], lines[place:]
    text = "".join(f"{line}\n" for line in (*before, 'x,"open', *behind))
    ((number, _),) = faults(text)
    assert number == 1 + "".join(f"{line}\n" for line in before).count("\n")
    assert values(text) == values("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("line", ['"open,b', 'a,"open', '"closed" early,b', 'a,"b"c"'])
def test_a_row_whose_quotation_marks_do_not_close_is_named_by_its_line(line: str) -> None:
    ((number, fault),) = faults(f"a,b\n{line}\nc,d\n")
    assert number == 2
    assert "line 2" in fault
    assert values(f"a,b\n{line}\nc,d\n") == [["a", "b"], ["c", "d"]]


def test_the_fault_says_up_to_which_line_the_value_is_open() -> None:
    ((_, fault),) = faults('a,b\nc,"d\ne,f\ng,h\n')
    assert "line 2 and is still open in line 4" in fault


def test_a_quotation_mark_inside_a_value_is_text() -> None:
    assert values('TV 32",5\n') == [['TV 32"', "5"]]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('"say ""hi"""\tb', ['say "hi"', "b"]),
        ('"two\nlines"\tb', ["two\nlines", "b"]),
        ('"tab\there"\tb', ["tab\there", "b"]),
        ('"Best" coat\tb', ['"Best" coat', "b"]),
        ('"open\tb', ['"open', "b"]),
        ('a\t"open', ["a", '"open']),
    ],
)
def test_tab_separated_text_is_quoted_as_excel_does_and_otherwise_taken_as_it_stands(
    line: str, expected: list[str]
) -> None:
    assert values(f"{line}\nc\td\n", "\t") == [expected, ["c", "d"]]


def test_quotation_marks_of_two_rows_of_tab_separated_text_do_not_join_them() -> None:
    assert values('a\t"Coat\nb\tCape\nc\tHat"\n', "\t") == [["a", '"Coat'], ["b", "Cape"], ["c", 'Hat"']]


def test_line_ends_may_be_mixed_and_blank_lines_are_no_rows() -> None:
    assert rows("a,b\r\n\nc,d\re,f") == [(1, ["a", "b"]), (3, ["c", "d"]), (4, ["e", "f"])]
