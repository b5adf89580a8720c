"""What the pages name exists: links, files of this repository, modules, and the verbs and options of `phi3k`."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from phi3k.main import app
from phi3k_trainer.recipe import Layer, trace_recipe
from tests.pages import CHECKOUT, PAGES, blocks, prose

TOP_LEVEL = {path.name for path in CHECKOUT.iterdir() if path.name not in ("data", "runs")}
SOURCES = {"phi3k": "cli", "phi3k_jobs": "jobs", "phi3k_trainer": "trainer"}

INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"(?<![\w./~-])[\w.*-]+(?:/[\w.*-]+)*(?![\w/])")
MODULE = re.compile(r"(?<![\w./-])(?:phi3k|phi3k_jobs|phi3k_trainer)(?:\.\w+)+(?![\w/])")
COMMAND = re.compile(r"(?:^|[|;&] *|\$ )(?:\.venv/bin/)?(?:torchrun .* -m phi3k\.main|phi3k) ([^|;&<>#\n]+)")
PROGRAM = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S+ )?(?:\.venv/bin/)?(?:phi3k|python|pytest|make|helm|kubectl|docker|git) ")
NEEDS = {"cluster", "gpu"}
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))


def inline_code(text: str) -> list[str]:
    return INLINE.findall(prose(text))


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_inline_code_stands_on_one_line(page: Path) -> None:
    """Else it can't be searched for, and the tests below don't see it."""
    assert [line for line in prose(page.read_text(encoding="utf-8")).splitlines() if line.count("`") % 2] == []


@pages
def test_a_list_stands_apart_from_the_text_before_it(page: Path) -> None:
    """Else the site shows it as a part of that text."""
    text = prose(page.read_text(encoding="utf-8"))
    assert re.findall(r"^(?!- |\d+\. |[ #|]).+\n(?:- |1\. ).*", text, re.MULTILINE) == []


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        place, _, anchor = target.partition("#")
        if "://" in place:
            continue
        file = (page.parent / place) if place else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pages
def test_every_file_of_this_repository_that_is_named_exists(page: Path) -> None:
    named = {
        path
        for code in inline_code(page.read_text(encoding="utf-8"))
        for path in FILE.findall(code)
        if "/" in path and path.split("/")[0] in TOP_LEVEL
    }
    assert not {path for path in named if not any(CHECKOUT.glob(path.rstrip(".")))}


@pages
def test_every_module_that_is_named_exists(page: Path) -> None:
    named = set(MODULE.findall(page.read_text(encoding="utf-8")))
    assert not {module for module in named if not exists(module)}


def exists(module: str) -> bool:
    """Whether a dotted name is a module or package of ours, or a name in one."""
    package, *inside = module.split(".")
    file = CHECKOUT / SOURCES[package] / package
    for number, part in enumerate(inside, 1):
        if (file / f"{part}.py").is_file():
            rest = inside[number:]
            return (
                not rest or re.search(rf"\b{rest[0]}\b", (file / f"{part}.py").read_text(encoding="utf-8")) is not None
            )
        file /= part
    return file.is_dir()


def test_the_map_in_the_readme_names_folders_that_are_there() -> None:
    """In a row of the map, a name after the first stands for a folder beside the first."""
    _, _, rest = (CHECKOUT / "README.md").read_text(encoding="utf-8").partition("## Where things are\n")
    rows = re.findall(r"^\| (`.+?`) \|", rest.partition("\n## ")[0], re.MULTILINE)
    assert len(rows) > 10
    missing = []
    for row in rows:
        first, *others = INLINE.findall(row)
        places = [CHECKOUT / first, *(CHECKOUT / Path(first).parent / other for other in others)]
        missing += [str(place) for place in places if not place.is_dir()]
    assert not missing


def chosen(line: str) -> tuple[Any, list[str]]:
    """The verb of a command line, or the group where it names none, and the words behind it."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)
    while words and (inner := getattr(command, "commands", {}).get(words[0])):
        command, words = inner, words[1:]
    return command, words


def refusal(line: str) -> str | None:
    """Why phi3k does not take a whole command line; None where it does."""
    command, words = chosen(line)
    if hasattr(command, "commands") and words[:1] != ["--help"]:
        return "no such verb"
    try:
        command.make_context("phi3k", words)
    except typer.Exit:  # --help
        return None
    except typer.TyperException as error:
        return str(error.format_message())
    return None


def unknown(line: str) -> list[str]:
    """What a command in running text names that is not there; it may leave arguments out."""
    command, words = chosen(line)
    options = {"-h", "--help"}.union(*(parameter.opts for parameter in command.params))
    wrong = [word for word in words if word.startswith("-") and word.partition("=")[0] not in options]
    verb_is_missing = hasattr(command, "commands") and words and words[0] not in options
    return [words[0], *wrong] if verb_is_missing else wrong


@pages
def test_every_command_of_a_block_is_one_that_phi3k_takes(page: Path) -> None:
    commands = [
        found
        for block in blocks(page)
        if block.language == "sh"
        for line in block.lines
        for found in COMMAND.findall(line)
    ]
    assert not {command: problem for command in commands if (problem := refusal(command))}


@pages
def test_blocks_of_commands_are_marked_as_such(page: Path) -> None:
    """A block without a language is what something prints: nobody runs it."""
    others = [block for block in blocks(page) if block.language in ("", "bash", "shell", "console")]
    assert [line for block in others for line in block.lines if PROGRAM.match(line)] == []


@pages
def test_what_a_block_needs_or_what_runs_it_is_known(page: Path) -> None:
    """Blocks of commands without such a mark are run by tests/end_to_end/test_docs_commands.py."""
    marks = [mark for block in blocks(page) for mark in block.marks]
    known = {("needs", need) for need in NEEDS}
    files = {("run by", file) for name, file in marks if name == "run by" and (CHECKOUT / file).is_file()}
    assert not {mark for mark in marks if mark not in known | files}


@pages
def test_every_verb_and_option_in_running_text_is_one_of_phi3k(page: Path) -> None:
    codes = [code for code in inline_code(page.read_text(encoding="utf-8")) if code.startswith("phi3k ")]
    commands = [found for code in codes for found in COMMAND.findall(code)]
    assert not {command: problem for command in commands if (problem := unknown(command))}


def test_the_line_by_which_the_quickstart_names_the_image_is_a_defaults_file() -> None:
    page = (CHECKOUT / "docs/quickstart.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^echo '(.+)' > ~/\.config/phi3k/defaults\.yaml", page, re.MULTILINE)
    demo = (CHECKOUT / "recipes/demo.yaml").read_text(encoding="utf-8")
    recipe, _ = trace_recipe(Layer("demo.yaml", demo), defaults=[Layer("defaults.yaml", line)])
    assert recipe.cluster.image == "registry.example/phi3k:0.1.0"


def test_the_defaults_that_the_pages_show_are_valid() -> None:
    page = (CHECKOUT / "docs/defaults.md").read_text(encoding="utf-8")
    shown = re.findall(r"<<'END'\n(.+?)^END", page, re.MULTILINE | re.DOTALL)
    assert shown
    demo = Layer("demo.yaml", (CHECKOUT / "recipes/demo.yaml").read_text(encoding="utf-8"))
    for text in shown:
        trace_recipe(demo, defaults=[Layer("docs/defaults.md", text)])
