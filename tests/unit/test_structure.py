"""The floors of the house: a folder imports only from folders below it, so that none has to be read with its user."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGES = {"phi3k": "cli/phi3k", "phi3k_jobs": "jobs/phi3k_jobs", "phi3k_trainer": "trainer/phi3k_trainer"}

# From the ground up. Rooms on one floor don't know each other. A name is a folder, or a module that lies at the top.
FLOORS = [
    {"trainer.contract", "trainer.lazy", "trainer.sources"},
    {"trainer.errors"},
    {"trainer.files", "trainer.certificates", "trainer.progress", "trainer.credentials", "trainer.terminal"},
    {"trainer.storage", "trainer.run_directory", "trainer.directories"},
    {"trainer.remote"},
    {"trainer.templates"},
    {"trainer.recipe"},
    {"trainer.images", "trainer.prompts", "trainer.page", "trainer.replica"},
    {"trainer.model", "trainer.planning", "trainer.distributed", "trainer.data.rows"},
    {"trainer.data.pictures", "trainer.data.tables", "trainer.tuning"},
    {"trainer.data.sample"},
    {"trainer.data.sources"},
    {"trainer.data"},
    {"trainer.evaluation"},
    {"trainer.tracking"},
    {"trainer.checkpoints"},
    {"trainer.trained"},
    {"trainer.training"},
    {"jobs.objects"},
    {"jobs.kinds"},
    {"jobs.causes", "jobs.api", "jobs.render", "jobs.role"},
    {"jobs.helm_values", "jobs.runs"},
    {"jobs.watch"},
    {"jobs.submit"},
    {"jobs.transfer"},
    {"cli"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# The ground floor of a distributed run imports torch; the first process of a pod must not.
WITHOUT_TORCH = ("trainer.recipe", "trainer.replica", "trainer.planning")


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module."""
    for package, place in PACKAGES.items():
        for file in sorted((CHECKOUT / place).rglob("*.py")):
            parts = (package, *file.relative_to(CHECKOUT / place).with_suffix("").parts)
            yield ".".join(parts), file


def room_of(module: str) -> str:
    """The folder that a module lies in, or the module itself where it lies at the top of its package."""
    package, *inside = module.split(".")
    top = package.removeprefix("phi3k_").replace("phi3k", "cli")
    if top == "cli":
        return "cli"
    place = CHECKOUT / PACKAGES[package]
    folders = [part for number, part in enumerate(inside, 1) if place.joinpath(*inside[:number]).is_dir()]
    return ".".join((top, *(folders or inside[:1])))


def imported(file: Path) -> Iterator[str]:
    """The modules of ours that a file imports, also inside functions and for typing only."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            inside = [name for name in names[1:] if is_module(name)]
            names = inside or names[:1]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


def is_module(name: str) -> bool:
    package, *inside = name.split(".")
    if package not in PACKAGES:
        return False
    place = (CHECKOUT / PACKAGES[package]).joinpath(*inside)
    return place.is_dir() or place.with_suffix(".py").is_file()


def test_every_folder_has_its_floor() -> None:
    rooms = {room_of(name) for name, file in modules() if file.name != "__init__.py"}
    assert rooms == FLOOR_OF.keys()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_imports_one_above_it_or_beside_it(package: str) -> None:
    climbs = [
        f"{name} imports {other}"
        for name, file in modules()
        if name.split(".")[0] == package and file.name != "__init__.py"
        for other in imported(file)
        if (here := room_of(name)) != (there := room_of(other)) and FLOOR_OF[there] >= FLOOR_OF[here]
    ]
    assert not climbs


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_what_runs_without_torch_does_not_import_it(room: str) -> None:
    heavy = {"torch", "transformers", "peft"}
    found = [
        f"{name} imports {alias.name}"
        for name, file in modules()
        if room_of(name) == room
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
        if alias.name.split(".")[0] in heavy
    ]
    assert not found


def test_a_folder_has_at_most_fifteen_files() -> None:
    sizes = {
        folder: len([file for file in folder.glob("*.py") if file.name != "__init__.py"])
        for place in PACKAGES.values()
        for folder in [CHECKOUT / place, *(path for path in (CHECKOUT / place).rglob("*") if path.is_dir())]
    }
    assert not {str(folder.relative_to(CHECKOUT)): size for folder, size in sizes.items() if size > 15}
