"""The examples of docs/python.md that need a cluster, run as they stand there, one after the other."""

from pathlib import Path
from typing import Any

import pytest
from tools.cluster.stand_in import recipe

from tests.unit.test_python_page import BLOCK, PAGE

from .command import Command

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_a_run_is_submitted_waited_for_read_and_cancelled(
    phi3k: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's kubeconfig names the namespace, as a user's context does."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(Path(phi3k.kubeconfig).read_text())
    phi3k.cluster.kubectl(
        "config", "set-context", "--current", f"--namespace={phi3k.namespace}", f"--kubeconfig={kubeconfig}"
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    names: dict[str, Any] = {"recipe": recipe("echo trained", "name=from-python")}
    there = [code for elsewhere, code in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if elsewhere]
    assert len(there) == 2
    for code in there:
        exec(compile(code, str(PAGE), "exec"), names)
    assert "0 trained\n" in capsys.readouterr().out
    phi3k.wait_until_gone()
