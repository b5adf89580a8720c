"""Rows that can't be used for training: why, how many, and when they are too many."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.errors import DataError
from phi3k_trainer.files import Field, convert, damage_named, encode_json, read_json_lines, write_atomically
from phi3k_trainer.run_directory import QUARANTINE, REMEDIES


@dataclass(frozen=True)
class QuarantineReport:
    """The rows set aside out of those considered, and the file that lists them."""

    rejections: tuple[Rejection, ...]
    considered: int
    """Rows looked at, good and bad, after `max_rows` and without repeated rows."""
    path: Path
    """JSON lines, one rejection each."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Rejections by reason, the most frequent first."""
        return dict(Counter(rejection.reason for rejection in self.rejections).most_common())

    def extended(self, rejections: Iterable[Rejection]) -> "QuarantineReport":
        """This report of a run with more rejections (such as samples that are too long); the file is written anew."""
        return write_quarantine((*self.rejections, *rejections), self.considered, self.path, "checkpoint.directory")

    def check_budget(self, error_budget: float) -> None:
        """Raise a DataError when more than the share `error_budget` of the rows was set aside."""
        allowed = error_budget * self.considered
        if len(self.rejections) <= allowed:
            return
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.counts.items())
        raise DataError(
            f"{len(self.rejections)} of {self.considered} rows can't be used ({reasons}), more than data.error_budget "
            f"{error_budget:g} allows ({int(allowed)}). The first: {self.rejections[0].detail}. "
            f"Each is listed in {self.path}. "
            "Correct the rows, or raise data.error_budget to train without them"
        )


def read_quarantine(path: Path) -> list[Rejection]:
    """The rows that `write_quarantine` listed in a run's directory.

    Raises:
        MissingInputError: the file is not there, or holds something else.
    """
    remedy = REMEDIES[QUARANTINE]
    with damage_named(path, remedy):
        return [convert(Rejection, line) for line in read_json_lines(path, remedy)]


def write_quarantine(
    rejections: Iterable[Rejection], considered: int, path: Path, field: Field = "data.cache"
) -> QuarantineReport:
    """Write one JSON line a rejection to `path`, in the place that `field` names, replacing the file in one step."""
    report = QuarantineReport(tuple(rejections), considered, path)
    write_atomically(path, b"".join(map(encode_json, report.rejections)), field)
    return report
