"""From a recipe's data section to training and evaluation examples: the only way there."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phi3k_trainer.data.pictures.store import Store
from phi3k_trainer.data.pictures.verifying import Failure
from phi3k_trainer.data.prepare import prepare_rows
from phi3k_trainer.data.prepared_rows import FORMAT, PreparedRow, PreparedRows
from phi3k_trainer.data.quarantine import QuarantineReport, write_quarantine
from phi3k_trainer.data.sources import reader_of
from phi3k_trainer.data.splits import groups_of, split_of
from phi3k_trainer.errors import DataError
from phi3k_trainer.files import Field, damage_named, encode_json, locked, read_document, read_json, write_atomically
from phi3k_trainer.progress import ProgressCallback
from phi3k_trainer.prompts.conversation import Turn
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.recipe.recipe import Recipe
from phi3k_trainer.run_directory import DATASET, QUARANTINE, REMEDIES, RunDirectory

_DIGEST = re.compile("[0-9a-f]{64}")
# Fields that don't change the prepared data, or only whether it is accepted.
_NOT_IN_FINGERPRINT: Mapping[str, bool | set[str]] = {
    "cache": True,
    "error_budget": True,
    "eval_fraction": True,
    "max_tokens": True,
    "fetch": {"concurrency", "timeout_seconds", "attempts"},
}


@dataclass(frozen=True)
class StoredImage:
    """A verified picture on disk."""

    path: Path
    sha256: str
    width: int
    """Pixels as displayed, after the EXIF rotation."""
    height: int


@dataclass(frozen=True)
class Example:
    """One sample that can be encoded: a conversation and its pictures, in the order of their numbers."""

    key: str
    turns: tuple[Turn, ...]
    images: tuple[StoredImage, ...]
    fields: Mapping[str, str]
    """The answer's fields as strings as they stand in the answer; empty where the rows bring their own turns."""


@dataclass(frozen=True)
class Dataset:
    """Both sides of the split, in the order of the key's hash, and what was set aside."""

    train: Sequence[Example]
    evaluation: Sequence[Example]
    quarantine: QuarantineReport
    digest: str
    """SHA-256 of all examples before the split: the same digest is the same data, down to the pictures."""
    repeated: int
    """Rows dropped because the very same row was there already."""
    beyond_max_rows: int
    """Rows left out because `max_rows` were chosen before them."""
    remarks: tuple[str, ...]
    """What was left out and is not a row, such as files that are not read."""


def prepare_dataset(
    recipe: Recipe,
    run_directory: Path | None,
    progress: ProgressCallback | None = None,
    *,
    retry_failures: bool = False,
) -> Dataset:
    """Read, fetch, verify and split the recipe's data; a second call with the same recipe and files starts at once.

    Any number of processes may call this at the same time: the first prepares, the others wait and read. With a run
    directory all of them, and every resumption, get the very same data: `dataset.json` there holds its digest.

    Args:
        recipe: Its section `data` and `model.num_crops` decide.
        run_directory: Gets `dataset.json` and `quarantine.jsonl`; None: the quarantine stays in the cache.
        progress: See `phi3k_trainer.progress`.
        retry_failures: Ask again also for pictures that an earlier run found to fail for good.

    Raises:
        DataError: a column is missing, nothing is left, more rows than the error budget are unusable, a side of the
            split is empty, or the data is not what this run directory began with.
        MissingInputError, UnavailableError: the data set is not there.
        StorageError: the cache can't be written.
    """
    cache = Path(recipe.data.cache).expanduser().absolute()
    section = reader_of(recipe.data.source).make(recipe.data, cache)
    store = Store(cache / "store")
    identity = _fingerprint(section, recipe.model.num_crops)
    folder = cache / "prepared" / identity
    run_record = None if run_directory is None else RunDirectory(run_directory).dataset
    quarantine_path = folder / QUARANTINE if run_directory is None else RunDirectory(run_directory).quarantine
    with locked(folder / "lock"):
        expected = _recorded_digest(run_record)
        prepared = _kept(folder, store, expected) if not retry_failures else None
        if prepared is None:
            known = {} if retry_failures else _permanent_failures(folder)
            prepared = prepare_rows(section, recipe.model.num_crops, store, known, progress)
            _check_same(expected, prepared, run_directory)
            prepared.write(folder / f"{prepared.digest}.jsonl")
            write_atomically(folder / "newest", prepared.digest.encode(), "data.cache")
        if run_record is not None and expected is None:
            record = encode_json({"digest": prepared.digest, "prepared": identity})
            write_atomically(run_record, record, "checkpoint.directory")
        if expected is None or not quarantine_path.exists():
            place: Field = "data.cache" if run_directory is None else "checkpoint.directory"
            write_quarantine(prepared.rejections, prepared.considered, quarantine_path, place)
    quarantine = QuarantineReport(prepared.rejections, prepared.considered, quarantine_path)
    _check_usable(prepared, quarantine, section)
    return _split(prepared, quarantine, section, store)


def _fingerprint(section: DataSection, num_crops: int) -> str:
    values = section.model_dump(mode="json", exclude=_NOT_IN_FINGERPRINT)
    whole = [FORMAT, num_crops, values, reader_of(section.source).fingerprint(section)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]


def _recorded_digest(run_record: Path | None) -> str | None:
    """The digest of the data that the run began with, if it has begun."""
    if run_record is None or not run_record.exists():
        return None
    with damage_named(run_record, REMEDIES[DATASET]):
        digest = read_json(run_record, REMEDIES[DATASET]).get("digest")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ValueError("it has no digest of the data")
        return digest


def _kept(folder: Path, store: Store, expected: str | None) -> PreparedRows | None:
    """What an earlier call prepared, if it can be used as it is.

    A new run doesn't take over failures that may be temporary; a run that has begun keeps its data.
    """
    digest = expected or _newest(folder)
    prepared = PreparedRows.read(folder / f"{digest}.jsonl") if digest else None
    if prepared is None or not prepared.is_intact(store):
        return None
    if expected is None and any(rejection.transient for rejection in prepared.rejections):
        return None
    return prepared


def _newest(folder: Path) -> str | None:
    """The digest of what was prepared last, if it is recorded; a damaged record counts as absent."""
    path = folder / "newest"
    digest = read_document(path).decode(errors="replace") if path.exists() else ""
    return digest if _DIGEST.fullmatch(digest) else None


def _permanent_failures(folder: Path) -> dict[str, Failure]:
    newest = _newest(folder)
    prepared = PreparedRows.read(folder / f"{newest}.jsonl") if newest else None
    return {
        rejection.location: Failure(rejection.reason, rejection.detail)
        for rejection in (prepared.rejections if prepared else ())
        if rejection.location is not None and not rejection.transient
    }


def _check_same(expected: str | None, prepared: PreparedRows, run_directory: Path | None) -> None:
    if expected is not None and prepared.digest != expected:
        raise DataError(
            f"the data is no longer what the run in {run_directory} began with: it now has {len(prepared.rows)} usable "
            f"rows with digest {prepared.digest[:12]}, the run began with {expected[:12]}. Continuing would train on a "
            "mixture. Put the files and the cache back as they were, or start a new run under another name"
        )


def _check_usable(prepared: PreparedRows, quarantine: QuarantineReport, section: DataSection) -> None:
    origin = f"data.path {section.path}"
    if prepared.considered == 0:
        raise DataError(f"{origin} has no rows")
    quarantine.check_budget(section.error_budget)
    if not prepared.rows:
        raise DataError(
            f"no row of {origin} can be used: all {prepared.considered} are in {quarantine.path}. "
            f"The first: {prepared.rejections[0].detail}"
        )


def _split(prepared: PreparedRows, quarantine: QuarantineReport, section: DataSection, store: Store) -> Dataset:
    rows = [(row.key, [image.sha256 for image in row.images]) for row in prepared.rows]
    sides = split_of(rows, section.eval_fraction)
    examples = [_example(row, store) for row in prepared.rows]
    train = [example for example, side in zip(examples, sides, strict=True) if side == "train"]
    evaluation = [example for example, side in zip(examples, sides, strict=True) if side == "evaluation"]
    if not train:
        raise DataError(_empty_side("training", rows, section))
    if not evaluation and section.eval_fraction > 0:
        raise DataError(_empty_side("evaluation", rows, section))
    return Dataset(
        train,
        evaluation,
        quarantine,
        prepared.digest,
        prepared.repeated,
        prepared.beyond_max_rows,
        prepared.remarks,
    )


def _empty_side(name: str, rows: Sequence[tuple[str, Sequence[str]]], section: DataSection) -> str:
    number = len(set(groups_of(rows)))
    if number == 1 and len(rows) > 1:
        why = (
            f"all {len(rows)} rows share a key or a picture, directly or through each other, and such rows stay "
            "together. Add rows that share neither"
        )
    else:
        why = (
            f"data.eval_fraction {section.eval_fraction:g} puts all {len(rows)} rows on the other side; rows that "
            f"share a key or a picture stay together, which makes {number} groups. Use more rows, another fraction"
        )
    return f"no row is left for {name}: {why}, or data.eval_fraction 0 to train without evaluation"


def _example(row: PreparedRow, store: Store) -> Example:
    images = tuple(StoredImage(image.location(store), image.sha256, image.width, image.height) for image in row.images)
    return Example(row.key, row.turns, images, row.fields)
