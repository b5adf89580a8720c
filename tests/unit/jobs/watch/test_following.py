"""Reading a log again from its last timestamp neither loses lines nor repeats them."""

from hypothesis import given
from hypothesis import strategies as st

from phi3k_jobs.watch.following import Resume


def second_of(timestamp: str) -> str:
    return timestamp.partition(".")[0].rstrip("Z")


@st.composite
def logs(draw: st.DrawFn) -> list[str]:
    """Timestamps of a log's lines in order, many of them equal, with fractions as kubelets write them."""
    nanoseconds = sorted(draw(st.lists(st.integers(0, 3_000_000_000).map(lambda n: n // 10**8 * 10**8), max_size=60)))
    written = []
    for value in nanoseconds:
        seconds, fraction = divmod(value, 10**9)
        digits = f"{fraction:09}".rstrip("0")
        written.append(f"2026-01-01T00:00:0{seconds}{'.' + digits if digits else ''}Z")
    return written


@given(logs(), st.lists(st.integers(0, 30), max_size=8))
def test_every_line_is_new_exactly_once_however_often_the_connection_breaks(log: list[str], cuts: list[int]) -> None:
    resume, seen = Resume(), []
    for lines_until_cut in [*cuts, len(log)]:
        since = resume.again()
        # The API server counts `sinceTime` in whole seconds.
        served = [(i, stamp) for i, stamp in enumerate(log) if not since or second_of(stamp) >= second_of(since)]
        seen += [i for i, stamp in served[:lines_until_cut] if resume.is_new(stamp)]
    assert seen == list(range(len(log)))


def test_a_log_without_a_line_read_is_asked_for_whole() -> None:
    assert Resume().again() == ""
