"""The chart's made files are fresh, and its templates take what Python knows from them."""

import re
import runpy
from collections.abc import Iterator
from typing import Any

import pytest

from phi3k_trainer import contract
from tests.unit.test_structure import CHECKOUT

SCRIPT = runpy.run_path(str(CHECKOUT / "scripts" / "chart_files.py"))
TEMPLATES = CHECKOUT / "charts" / "phi3k" / "templates"


def leaves(found: Any) -> Iterator[str]:
    """Every key, text and number."""
    if isinstance(found, dict):
        yield from found
        found = list(found.values())
    if isinstance(found, list):
        for entry in found:
            yield from leaves(entry)
    elif isinstance(found, str | int):
        yield str(found)


def facts() -> set[str]:
    """Paths, names, numbers and expressions: what is more than a word, an option or a digit.

    The template of a kind of job says itself which object it makes.
    """
    return {
        fact
        for fact in leaves({name: value for name, value in SCRIPT["facts"]().items() if name != "kinds"})
        if not re.fullmatch(r"-*[A-Za-z][A-Za-z0-9]*|[a-z]+(_[a-z]+)+|[0-9]|", fact)
    }


def repeated(text: str) -> list[str]:
    """The facts that a template repeats, comments and indents apart."""
    code = re.sub(r"\{\{-? ?/\*.*?\*/ ?-?\}\}", "", text, flags=re.DOTALL)
    code = re.sub(r"n?indent [0-9]+", "", code)
    return [fact for fact in facts() if re.search(rf"(?<![\w./-]){re.escape(fact)}(?![\w/-])", code)]


def test_made_files_are_fresh() -> None:
    stale = [
        str(path)
        for path, text in SCRIPT["files"](CHECKOUT).items()
        if (CHECKOUT / path).read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `.venv/bin/python scripts/chart_files.py`"


def test_the_facts_hold_ports_paths_variables_labels_and_exit_codes() -> None:
    expected = {contract.METRICS_PORT, contract.RENDEZVOUS_PORT, *contract.PERMANENT_EXIT_CODES}
    expected |= {contract.RUNS, contract.PYTHON, contract.HEALTH_FILE, contract.ENTRYPOINT_MODULE}
    expected |= {contract.HEALTH_VARIABLE, contract.NODES_VARIABLE, "phi3k/run"}
    assert {str(fact) for fact in expected} <= facts()


@pytest.mark.parametrize(
    "line",
    [
        "containerPort: 9464",
        "values: [64, 65]",
        'command: ["/opt/phi3k/bin/python", "-m"]',
        "mountPath: /runs",
        "- name: PHI3K_IMAGE",
        '{{- if regexMatch "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$" $name -}}',
        "phi3k/run: {{ .name }}",
    ],
)
def test_a_line_that_repeats_a_fact_is_found(line: str) -> None:
    assert repeated(line)


@pytest.mark.parametrize("template", sorted(str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.*")))
def test_a_template_repeats_no_fact(template: str) -> None:
    assert repeated((TEMPLATES / template).read_text(encoding="utf-8")) == []
