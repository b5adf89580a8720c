"""The role in the docs is the role that the cluster's tests try."""

from pathlib import Path

import yaml

from phi3k_jobs.role import role

DOCS = Path(__file__).parents[3] / "docs" / "cluster.md"


def test_the_role_in_the_docs_is_the_tested_one() -> None:
    block = DOCS.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(block) == role()


def test_no_rule_gives_secrets_or_every_right() -> None:
    text = str(role())
    assert "secrets" not in text
    assert "*" not in text
