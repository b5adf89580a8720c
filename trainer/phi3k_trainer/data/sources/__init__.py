"""Where rows come from: one module a source, named as `phi3k_trainer.sources` names it, with its `READER`."""

from importlib import import_module

from phi3k_trainer.data.sources.reader import Reader


def reader_of(source: str) -> Reader:
    """The reader of the source of this name; its module, and what it needs, is imported now."""
    reader = import_module(f"{__name__}.{source}").READER
    assert isinstance(reader, Reader)
    return reader
