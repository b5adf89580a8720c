"""What of a run belongs together, on the names that a run really has."""

import pytest

from phi3k_jobs.transfer.parts import Entry, Listing, choose, grouped, read_listing
from phi3k_trainer.errors import DataError, MissingInputError

from .making import entry

NAMES = [
    "recipe.yaml",
    "dataset.json",
    "base.json",
    "metrics.jsonl",
    "report.html",
    "evaluation.json",
    "before/evaluation.json",
    "predictions/step-8.jsonl",
    "predictions/step-16.jsonl",
    "logs/0/attempt-1.jsonl",
    "base/config.json",
    "checkpoints/step-000008/MANIFEST.json",
    "checkpoints/step-000008/adapters.safetensors",
    "checkpoints/step-000016/MANIFEST.json",
    "checkpoints/step-000016/adapters.safetensors",
    "checkpoints/step-000024/adapters.safetensors",
]
LISTING = Listing(tuple(entry(name, 1) for name in NAMES), ())


def chosen(part: str) -> list[str]:
    return [found.path for found in choose(LISTING, "demo", part)]


def test_a_part_is_its_files() -> None:
    assert chosen("report") == ["report.html"]
    assert chosen("evaluation") == ["evaluation.json", "before/evaluation.json"]
    assert chosen("predictions") == ["predictions/step-8.jsonl", "predictions/step-16.jsonl"]
    assert chosen("logs") == ["logs/0/attempt-1.jsonl"]
    assert sorted(chosen("all")) == sorted(NAMES)


def test_an_export_comes_with_its_record() -> None:
    names = ["export.json", "export/config.json", "export/model.safetensors", "exported.txt"]
    found = choose(Listing(tuple(entry(name, 1) for name in names), ()), "demo", "export")
    assert [each.path for each in found] == names[:-1]


def test_the_newest_checkpoint_with_a_manifest_comes_with_what_opens_it() -> None:
    assert chosen("checkpoint") == [
        "recipe.yaml",
        "dataset.json",
        "base.json",
        "base/config.json",
        "checkpoints/step-000016/adapters.safetensors",
        "checkpoints/step-000016/MANIFEST.json",
    ]


@pytest.mark.parametrize("part", ["export", "adapter"])
def test_a_part_that_is_missing_is_refused_with_those_that_are_there(part: str) -> None:
    with pytest.raises(MissingInputError) as caught:
        choose(LISTING, "demo", part)
    there = "checkpoint, evaluation, logs, predictions, report"
    assert str(caught.value) == f"demo has no {part} yet; what there is: {there}"


def test_a_run_that_has_just_begun_has_nothing() -> None:
    with pytest.raises(MissingInputError, match="demo has no report yet; what there is: nothing"):
        choose(Listing((entry("recipe.yaml", 1),), ()), "demo", "report")


def test_a_checkpoint_each_and_other_folders_are_shown_as_one() -> None:
    found = {group.name: (group.part, group.files) for group in grouped(LISTING.files)}
    assert found["checkpoints/step-000016"] == ("checkpoint", 2)
    assert found["predictions"] == ("predictions", 2)
    assert found["before/evaluation.json"] == ("evaluation", 1)
    assert found["metrics.jsonl"] == ("", 1)
    assert sum(files for _, files in found.values()) == len(NAMES)


def test_what_a_run_is_just_writing_is_left_out() -> None:
    names = [
        "lock",
        ".1f2e.tmp",
        "predictions/.1f2e.tmp",
        "checkpoints/.partial-step-000008/state.json",
        ".export.1f2e.unfinished/config.json",
        "fetched.json",
        ".fetch/lock",
    ]
    files = [{"path": name, "size": 1, "changed": 0.0} for name in [*names, "report.html"]]
    assert read_listing({"files": files, "others": []}).files == (Entry("report.html", 1, 0.0),)


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", ""])
def test_a_listing_that_leads_outside_is_refused(path: str) -> None:
    with pytest.raises(DataError):
        read_listing({"files": [{"path": path, "size": 1, "changed": 0.0}], "others": []})
