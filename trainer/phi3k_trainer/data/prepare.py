"""Preparing a data set: read and choose rows, fetch and verify their pictures, set aside what can't be used."""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from phi3k_trainer.data.pictures.fetching import fetch_pictures
from phi3k_trainer.data.pictures.objects import read_objects
from phi3k_trainer.data.pictures.store import Store
from phi3k_trainer.data.pictures.verifying import Failure, Picture, PictureVerifier
from phi3k_trainer.data.prepared_rows import PreparedImage, PreparedRow, PreparedRows
from phi3k_trainer.data.reading import RowBuilder, order_hash, select_rows
from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Row
from phi3k_trainer.data.sources import reader_of
from phi3k_trainer.data.sources.remote import bring_tables
from phi3k_trainer.progress import Progress, ProgressCallback
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.remote.addresses import is_address
from phi3k_trainer.storage import tried_again


def prepare_rows(
    section: DataSection,
    num_crops: int,
    store: Store,
    known_failures: Mapping[str, Failure],
    progress: ProgressCallback | None,
) -> PreparedRows:
    """Read all rows of the source of `section`, and verify every picture.

    Args:
        section: The recipe's section `data`; of a source that makes what it reads, with the path of it.
        num_crops: Crops a picture may have; a picture too thin for them is set aside.
        store: Keeps fetched pictures and those that came as bytes; local files are used where they are.
        known_failures: URLs that are known to fail permanently: not requested again.
        progress: See `phi3k_trainer.progress`.

    Raises:
        DataError, MissingInputError, UnavailableError: the source can't be read (see its module in `sources`).
        StorageError: the store can't be written.
        UnreadableStorageError: storage fails in every attempt to read a table or a picture.
    """
    left_there = bring_tables(section, progress)
    builder, reader = RowBuilder(section), reader_of(section.source)
    selection = tried_again(
        lambda: select_rows(
            reader.read(section, builder.used_columns), builder.build, section.max_rows, store, progress
        )
    )
    locations = dict.fromkeys(str(source.location) for row in selection.rows for source in row.images)
    verifier = PictureVerifier(store, max_pixels=section.max_pixels, num_crops=num_crops, max_bytes=section.max_bytes)
    urls = [location for location in locations if not is_path(location) and not is_address(location)]
    local = verify_files((location for location in locations if is_path(location)), verifier, progress)
    fetched = fetch_pictures(urls, section.fetch, store, verifier, known_failures=known_failures, progress=progress)
    objects = filter(is_address, locations)
    read = read_objects(objects, section.fetch, store, verifier, known_failures=known_failures, progress=progress)
    found = {**local, **fetched, **read}
    rejections = list(selection.rejections)
    rows: dict[tuple[str, ...], PreparedRow] = {}
    repeated = selection.repeated
    for row in selection.rows:
        outcome = _outcome(row, found, store)
        if isinstance(outcome, Rejection):
            rejections.append(outcome)
            continue
        # Equal cells in a copied folder show equal pictures under other names, which is only known now.
        identity = (row.key, row.digest, *(image.sha256 for image in outcome.images))
        repeated += identity in rows
        rows.setdefault(identity, outcome)
    return PreparedRows(
        rows=tuple(rows.values()),
        rejections=tuple(sorted(rejections, key=lambda rejection: (order_hash(rejection.key), rejection.detail))),
        repeated=repeated,
        beyond_max_rows=selection.beyond_max_rows,
        remarks=(*(remark.text for remark in left_there), *selection.remarks),
    )


def is_path(location: str) -> bool:
    """Whether a picture's location is an absolute path, as opposed to a URL or the address of an object."""
    return location.startswith("/")


def verify_files(
    locations: Iterable[str], verifier: PictureVerifier, progress: ProgressCallback | None
) -> dict[str, Picture | Failure]:
    """Decode local pictures, several at once."""
    paths = list(locations)
    results: dict[str, Picture | Failure] = {}
    failed = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        for location, result in zip(paths, threads.map(verifier.file, map(Path, paths)), strict=True):
            results[location] = result
            failed += isinstance(result, Failure)
            if progress is not None:
                progress(Progress("pictures", len(results), len(paths), failed))
    return results


def _outcome(row: Row, found: Mapping[str, Picture | Failure], store: Store) -> PreparedRow | Rejection:
    images = []
    for source in row.images:
        location = str(source.location)
        picture = found[location]
        if isinstance(picture, Failure):
            # A URL's failure may be known from an earlier run, and stands for every row that has it.
            detail = picture.detail if not is_path(location) else f"{row.where}: {picture.detail}"
            return Rejection(row.key, picture.reason, detail, picture.transient, location)
        stored = not is_path(location) or Path(location) == store.path(picture.sha256)
        images.append(
            PreparedImage(
                sha256=picture.sha256,
                width=picture.width,
                height=picture.height,
                num_bytes=picture.num_bytes,
                path=None if stored else location,
                mtime_ns=None if stored else picture.mtime_ns,
            )
        )
    return PreparedRow(row.key, row.turns, tuple(images), dict(row.fields))
