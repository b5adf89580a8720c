"""The parts of a run's directory, by the names of its files. Pure functions."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi3k_jobs.transfer.program import path_of
from phi3k_trainer.errors import DataError, MissingInputError

ALL = "all"
CHECKPOINT = "checkpoint"
MANIFEST = "MANIFEST.json"
# With a checkpoint they let `phi3k export`, `eval` and `predict` open the run.
_BESIDE_A_CHECKPOINT = re.compile(r"recipe\.yaml|dataset\.json|base\.json|base/.+")
_CHECKPOINT = re.compile(r"checkpoints/step-(\d+)/[^/]+")
_PARTS: Mapping[str, Callable[[str], object]] = {
    "report": re.compile(r"(before/)?report\.html").fullmatch,
    "evaluation": re.compile(r"(before/)?evaluation\.json").fullmatch,
    "predictions": re.compile(r"(before/)?predictions/.+").fullmatch,
    "adapter": re.compile(r"adapter/.+").fullmatch,
    "export": re.compile(r"export\.json|export/.+").fullmatch,
    CHECKPOINT: _CHECKPOINT.fullmatch,
    "logs": re.compile(r"logs/.+").fullmatch,
}
PARTS = (*_PARTS, ALL)
# Files that a run is writing now, its lock, and files that fetch writes.
_UNFINISHED = re.compile(
    r"lock|fetched\.json|\.fetch/.*|(.*/)?\.[^/]*(\.tmp|\.unfinished(/.*)?)|checkpoints/\.[^/]+/.*"
)


@dataclass(frozen=True)
class Entry:
    """A file of a run on the claim."""

    path: str
    size: int
    changed: float
    """Time of its last change, in seconds since 1970."""


@dataclass(frozen=True)
class Listing:
    """The files in a run's directory."""

    files: tuple[Entry, ...]
    skipped: tuple[str, ...]
    """Links and anything else that is not a regular file, each with its type: these are never fetched."""


@dataclass(frozen=True)
class Group:
    """Files that are shown as one row."""

    name: str
    part: str
    files: int
    size: int
    changed: float


def read_listing(document: Any) -> Listing:
    """Return what the pod's program has listed, without files that a run is writing now.

    Raises:
        DataError: it is not a listing, or names a file outside the folder.
    """
    try:
        files = [Entry(str(each["path"]), int(each["size"]), float(each["changed"])) for each in document["files"]]
        skipped = tuple(f"{each['path']} ({each['what']})" for each in document["others"])
        for entry in files:
            path_of(entry.path)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the list of files that the pod sent can't be parsed: {error}") from error
    return Listing(tuple(entry for entry in files if not _UNFINISHED.fullmatch(entry.path)), skipped)


def part_of(path: str) -> str:
    """Return the part that a file belongs to, empty if only `all` has it."""
    return next((name for name, belongs in _PARTS.items() if belongs(path)), "")


def grouped(files: Iterable[Entry]) -> list[Group]:
    """Return the files as `phi3k ls` shows them: those of a folder as one row, each checkpoint as its own."""
    found: dict[str, list[Entry]] = {}
    for entry in files:
        found.setdefault(_group_of(entry.path), []).append(entry)
    return [
        Group(
            name,
            part_of(entries[0].path),
            len(entries),
            sum(entry.size for entry in entries),
            max(entry.changed for entry in entries),
        )
        for name, entries in sorted(found.items())
    ]


def _group_of(path: str) -> str:
    first, *rest = path.split("/")
    if not rest:
        return first
    depth = 2 if first in ("checkpoints", "before") and (len(rest) > 1 or first == "before") else 1
    return "/".join([first, *rest][:depth])


def choose(listing: Listing, run: str, part: str) -> list[Entry]:
    """Return the files of a part in the order in which they are fetched: of a checkpoint its manifest last.

    Raises:
        MissingInputError: the run has no such part; the message says what there is.
    """
    chosen = _chosen(listing.files, part)
    if not chosen:
        there = sorted({found for entry in listing.files if (found := part_of(entry.path))})
        raise MissingInputError(f"{run} has no {part} yet; what there is: {', '.join(there) or 'nothing'}")
    return sorted(chosen, key=lambda entry: (entry.path.endswith(f"/{MANIFEST}"), entry.size))


def _chosen(files: Sequence[Entry], part: str) -> list[Entry]:
    if part == ALL:
        return list(files)
    if part == CHECKPOINT:
        newest = newest_checkpoint(files)
        return [
            entry
            for entry in files
            if newest and (entry.path.startswith(f"{newest}/") or _BESIDE_A_CHECKPOINT.fullmatch(entry.path))
        ]
    return [entry for entry in files if part_of(entry.path) == part]


def newest_checkpoint(files: Iterable[Entry]) -> str:
    """Return the folder of the newest checkpoint that is there with its manifest, empty if there is none."""
    manifests = [entry.path for entry in files if entry.path.endswith(f"/{MANIFEST}")]
    steps = [(int(match[1]), path) for path in manifests if (match := _CHECKPOINT.fullmatch(path))]
    return max(steps)[1].removesuffix(f"/{MANIFEST}") if steps else ""
