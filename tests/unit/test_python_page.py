"""The examples of docs/python.md run as they stand there. Those that need a cluster run in tests/cluster."""

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs/python.md"
BLOCK = re.compile(r"(<!-- [^\n]+ -->\n)?```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_every_example_that_needs_no_cluster_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    here = [code for elsewhere, code in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if not elsewhere]
    assert len(here) > 5
    for code in here:
        exec(compile(code, str(PAGE), "exec"), names)
