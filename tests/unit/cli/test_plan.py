"""`phi3k plan`."""

import json
from typing import Any

import pytest

from phi3k.main import main


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["plan", *arguments, "--output", "json"]) == 0
    plan: dict[str, Any] = json.loads(capsys.readouterr().out)
    return plan


def test_the_plan_of_the_published_model(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(capsys, "burberry-lora", "--gpu", "A100-80GB")
    assert plan["parameters"]["total"] == 4_146_621_440
    assert plan["trainable"]["total"] == 100_663_296
    assert plan["sample"]["tokens"] == 811
    assert [gpu["fits"] for gpu in plan["one_gpu"]] == [True]


def test_overrides_rows_and_pictures_count(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(
        capsys,
        "burberry-lora",
        "--set",
        "model.num_crops=16",
        "--rows",
        "100",
        "--picture",
        "900x1200",
        "--gpu",
        "H100",
    )
    assert plan["sample"]["views"] == 13
    assert plan["rows"] == 100


def test_every_known_gpu_is_planned_where_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(capsys, "demo")
    assert {"A100-40GB", "H200", "B200", "T4", "RTX-5090"} <= {gpu["gpu"] for gpu in plan["layout"]}


def test_the_table_shows_what_the_json_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "burberry-full-8gpu", "--gpu", "A100-80GB", "--gpu", "T4"]) == 0
    text = capsys.readouterr().out
    assert "4,146,621,440" in text
    assert "On 8 GPUs" in text
    assert "fsdp, recompute" in text
    assert "no bfloat16: --set model.dtype=float32" in text


def test_a_picture_too_thin_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "burberry-lora", "--picture", "10000x5"]) == 65
    assert "10000 and 5 pixels" in capsys.readouterr().err
