"""From records to rows: templates filled in, bad values set aside, repeated rows dropped, `max_rows` chosen."""

import hashlib
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from phi3k_trainer.data.cells import image_sources
from phi3k_trainer.data.pictures.store import Store
from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import ImageSource, Record, Remark, Row, UnusableRowError, content_digest, is_missing
from phi3k_trainer.errors import DataError
from phi3k_trainer.files import printable
from phi3k_trainer.progress import Progress, ProgressCallback
from phi3k_trainer.prompts.conversation import Turn, check_image_numbers, split_at_images, with_image_tags
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.sources import source_named
from phi3k_trainer.templates.text import MAX_CHARACTERS, Template

_PROGRESS_EVERY = 200


class RowBuilder:
    """Makes rows of records by the recipe's templates."""

    def __init__(self, section: DataSection) -> None:
        """Parse the templates of `section`."""
        self._section = section
        own_turns = source_named(section.source).own_turns
        self._system = Template(section.system) if section.system is not None and not own_turns else None
        self._prompt = None if own_turns else Template(section.prompt)
        self._answer = section.answer_template
        templates = [one for one in (self._system, self._prompt, self._answer) if one is not None]
        key = [section.key] if section.key else []
        self.used_columns = tuple(dict.fromkeys([*(name for one in templates for name in one.columns), *key]))
        """Columns that must be there."""
        self.needed_columns = tuple(dict.fromkeys([*(name for one in templates for name in one.needed_columns), *key]))
        """Those of them that must hold a value in every row."""

    def build(self, record: Record) -> Row | Rejection:
        """The row of `record`, or why there is none; one bad record never stops the others."""
        key = record.where
        try:
            digest = content_digest(record.columns)
            key = digest[:32] if self._section.key is None else printable(str(record.columns.get(self._section.key)))
            return self._row(record, key, digest)
        except UnusableRowError as unusable:
            return Rejection(key, unusable.reason, f"{record.where}: {unusable}")
        except Exception as error:  # one odd record must not end the run: it is named and set aside
            detail = f"{record.where}: the row can't be read: {type(error).__name__}: {error}"
            return Rejection(key, "unreadable_row", detail)

    def _row(self, record: Record, key: str, digest: str) -> Row:
        self._check_values(record)
        images = tuple(
            source
            for column in record.picture_columns
            for source in image_sources(record.columns.get(column), record.folder, column, self._section.max_bytes)
        )
        turns, fields = self._conversation(record, len(images))
        _check_turns(turns, len(images))
        return Row(key, digest, images, turns, fields, record.where)

    def _check_values(self, record: Record) -> None:
        for column in self.used_columns:
            value = record.columns.get(column)
            if is_missing(value) and column in self.needed_columns:
                raise UnusableRowError("missing_value", f"column '{column}' has no usable value: {value!r}")
            if isinstance(value, str) and not _is_unicode(value):
                raise UnusableRowError("bad_text", f"column '{column}' has text that is not Unicode: {value[:100]!r}")

    def _conversation(self, record: Record, num_images: int) -> tuple[tuple[Turn, ...], dict[str, str]]:
        if record.turns is not None:
            return record.turns, {}
        assert self._prompt is not None
        assert self._answer is not None
        columns = record.columns
        try:
            system = () if self._system is None else (Turn("system", self._system.render(columns)),)
            user = Turn("user", with_image_tags(self._prompt.render(columns), num_images))
            return (*system, user, Turn("assistant", self._answer.render(columns))), self._answer.values(columns)
        except DataError as error:
            raise UnusableRowError("unusable_value", str(error)) from error


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_turns(turns: tuple[Turn, ...], num_images: int) -> None:
    for turn in turns:
        if not turn.text.strip():
            raise UnusableRowError("empty_text", f"the turn of the {turn.role} is empty")
        if not _is_unicode(turn.text):
            raise UnusableRowError("bad_text", f"the {turn.role}'s text is not Unicode: {turn.text[:100]!r}")
    length = sum(len(turn.text) for turn in turns)
    if length > MAX_CHARACTERS:
        raise UnusableRowError("too_long", f"the conversation has {length:,} characters")
    numbers = [number for turn in turns if turn.role != "assistant" for number in split_at_images(turn.text)[1]]
    try:
        check_image_numbers(numbers, num_images)
    except DataError as error:
        raise UnusableRowError("image_tags", str(error)) from error


@dataclass(frozen=True)
class Selection:
    """The chosen rows, in the order of their keys' hashes."""

    rows: tuple[Row, ...]
    rejections: tuple[Rejection, ...]
    repeated: int
    """Rows dropped because the very same row was there already."""
    beyond_max_rows: int
    """Rows not chosen, good and bad, because `max_rows` were chosen before them."""
    remarks: tuple[str, ...]
    """What was left out and is not a row."""


def order_hash(key: str) -> str:
    """What rows are ordered and chosen by: pseudo-random, yet the same in every version of the data."""
    return hashlib.sha256(f"order:{key}".encode(errors="surrogatepass")).hexdigest()


def select_rows(
    records: Iterable[Record | Rejection | Remark],
    build: Callable[[Record], Row | Rejection],
    max_rows: int | None,
    store: Store,
    progress: ProgressCallback | None,
) -> Selection:
    """Build the rows and keep those with the smallest key hash, good and bad alike, at most `max_rows`.

    Rows with the same key, content and pictures count once; rows with the same key and other content are all kept.
    Pictures that come as bytes are put into `store` as soon as their row is chosen, so memory holds no picture. Each
    record ends as a row, a rejection, a repetition or beyond `max_rows`: the counts add up to the records.
    """
    seen: set[bytes] = set()
    repeated = beyond = 0
    chosen: list[_Candidate] = []
    remarks: list[str] = []
    for number, record in enumerate(records, start=1):
        if progress is not None and number % _PROGRESS_EVERY == 0:
            progress(Progress("reading", number, None))
        if isinstance(record, Remark):
            remarks.append(record.text)
            continue
        candidate = _Candidate.of(record if isinstance(record, Rejection) else build(record))
        if isinstance(candidate.item, Row):
            if candidate.identity in seen:
                repeated += 1
                continue
            seen.add(candidate.identity)
        if max_rows is None:
            chosen.append(candidate.stored(store))
        elif len(chosen) < max_rows:
            heapq.heappush(chosen, candidate.stored(store))
        else:
            beyond += 1
            if chosen[0] < candidate:
                heapq.heapreplace(chosen, candidate.stored(store))
    chosen.sort(key=lambda candidate: candidate.rank)
    items = [candidate.item for candidate in chosen]
    return Selection(
        tuple(item for item in items if isinstance(item, Row)),
        tuple(item for item in items if isinstance(item, Rejection)),
        repeated,
        beyond,
        tuple(remarks),
    )


@dataclass(frozen=True)
class _Candidate:
    rank: tuple[str, str, str]
    """Hash of the key; cells; where the pictures are, for equal cells mean other pictures in another folder."""
    item: Row | Rejection

    @classmethod
    def of(cls, item: Row | Rejection) -> "_Candidate":
        if isinstance(item, Rejection):
            return cls((order_hash(item.key), f"{item.reason}:{item.detail}", ""), item)
        locations = "\n".join(source.location or "" for source in item.images)
        return cls((order_hash(item.key), item.digest, locations), item)

    @property
    def identity(self) -> bytes:
        return hashlib.sha256("".join(self.rank).encode(errors="surrogatepass")).digest()[:16]

    def __lt__(self, other: "_Candidate") -> bool:
        """Turned round, so that the heap's first is the one with the largest hash."""
        return self.rank > other.rank

    def stored(self, store: Store) -> "_Candidate":
        if not isinstance(self.item, Row) or all(source.data is None for source in self.item.images):
            return self
        images = tuple(
            source if source.data is None else ImageSource(location=str(store.path(store.put(source.data))))
            for source in self.item.images
        )
        return replace(self, item=replace(self.item, images=images))
