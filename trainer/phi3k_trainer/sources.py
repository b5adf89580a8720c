"""The sources of data, one line each: what the recipe, `phi3k init` and `phi3k submit` know without reading anything.

The module of the same name in `phi3k_trainer.data.sources` reads the rows of a source, and may import heavy packages.
This one imports nothing: it is read at every start of the command.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

CSV_SUFFIXES = (".csv", ".tsv")
JSONL_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIXES = (".parquet",)


@dataclass(frozen=True)
class Source:
    """What is known about a source before any of its rows is read."""

    name: str
    """What `data.source` calls it, and the name of the module that reads it."""
    example: str | None
    """What `data.path` looks like, for `phi3k init`; None: it needs no path."""
    reads: Literal["files", "files or hub", "nothing"] = "files"
    """What `data.path` names: local files, these or a data set of the hub, or nothing that has to be there before."""
    own_turns: bool = False
    """Whether its rows bring their own conversations, instead of the recipe's templates."""
    picture: str = "image"
    """The column with the picture, unless the recipe names another."""
    tables: tuple[str, ...] | None = None
    """Endings of the tables that it reads, where it reads nothing else below `data.path`."""


SOURCES = (
    Source("csv", "data.csv", tables=CSV_SUFFIXES),
    Source("jsonl", "data.jsonl", tables=JSONL_SUFFIXES),
    Source("parquet", "data.parquet", tables=PARQUET_SUFFIXES),
    Source("imagefolder", "images"),
    Source("hf", "owner/dataset", reads="files or hub"),
    Source("llava", "train.json", own_turns=True, tables=(".json", *JSONL_SUFFIXES)),
    Source("messages", "train.jsonl", own_turns=True, tables=(".json", *JSONL_SUFFIXES)),
    Source("dbq", "DBQ/Burberry.Product.prices.United.States", reads="files or hub", picture="imageurl"),
    Source("sample", None, reads="nothing", picture="imageurl"),
)
"""Every source, in the order of lists for people."""

if TYPE_CHECKING:
    SourceName = str
else:
    SourceName = Literal[tuple(source.name for source in SOURCES)]
    """Values of `data.source`."""


def source_named(name: str) -> Source:
    """The source that `data.source` names; a recipe names only those of `SOURCES`."""
    return next(source for source in SOURCES if source.name == name)
