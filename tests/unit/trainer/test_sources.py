"""The registry of sources: one line a source, and everything that lists sources agrees with it."""

import subprocess
import sys
import typing
from pathlib import Path

import pytest

from phi3k_trainer.data import sources as readers
from phi3k_trainer.data.sources import reader_of
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.sources import SOURCES, Source, source_named

NAMES = [source.name for source in SOURCES]


def test_a_recipe_may_name_every_source_and_no_other() -> None:
    assert list(typing.get_args(DataSection.model_fields["source"].annotation)) == NAMES


def test_every_source_has_a_module_that_reads_it_and_no_reader_is_without_its_line() -> None:
    modules = [file.stem for file in Path(readers.__file__).parent.glob("*.py") if "\nREADER = " in file.read_text()]
    assert sorted(modules) == sorted(NAMES)
    assert all(reader_of(name).read is not None for name in NAMES)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_source_needs_a_path_unless_it_makes_what_it_reads(source: Source) -> None:
    assert (source.example is None) == (source.reads == "nothing")
    assert source_named(source.name) is source


def test_knowing_the_sources_imports_none_of_their_readers() -> None:
    program = "import sys, phi3k_trainer.sources; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    ours = [name for name in done.stdout.split() if name.startswith("phi3k")]
    assert set(ours) == {"phi3k_trainer", "phi3k_trainer.lazy", "phi3k_trainer.sources"}
    assert not {"pydantic", "pyarrow", "PIL", "numpy"}.intersection(done.stdout.split())
