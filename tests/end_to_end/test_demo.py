"""What a newcomer runs: `make demo`, with what it promises. Minutes long; both stages are real."""

import json
import re
import sys
from pathlib import Path

import pytest

from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.model.processor import Phi3VProcessor
from tests.long_command import Limits, run_long_command

# Its own limits stop what hangs; a wall time would stop it on a busy machine.
pytestmark = pytest.mark.timeout(0)

REPOSITORY = Path(__file__).parents[2]
LIMITS = Limits(cpu=1500)
PHI3K = Path(sys.executable).with_name("phi3k")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which the demo has run, with its output in output.txt."""
    directory = tmp_path_factory.mktemp("demo")
    (directory / "recipes").symlink_to(REPOSITORY / "recipes")
    run_long_command([REPOSITORY / "scripts" / "demo", PHI3K], directory, directory / "output.txt", LIMITS)
    return directory


def evaluation(demo: Path, run: str) -> dict:
    return json.loads((demo / "runs" / run / "evaluation.json").read_text())


def test_the_model_reads_title_and_category_off_held_out_pictures(demo: Path) -> None:
    fields = evaluation(demo, "demo")["fields"]
    assert fields["category3_code"]["accuracy"] >= 0.90
    assert fields["title"]["exact_match"] >= 0.75


def test_the_model_infers_the_price(demo: Path) -> None:
    assert evaluation(demo, "demo")["fields"]["full_price"]["median_ape"] <= 0.10


def test_without_the_right_picture_it_knows_a_third_at_most(demo: Path) -> None:
    scores = evaluation(demo, "demo")
    for field, metric in (
        ("category3_code", "accuracy"),
        ("title", "exact_match"),
        ("full_price", "within_10_percent"),
    ):
        assert scores["blind"][field][metric] <= scores["fields"][field][metric] / 3


def test_adapters_learn_the_changed_catalogue_from_the_merged_first_stage(demo: Path) -> None:
    before = json.loads((demo / "runs" / "demo-lora" / "before" / "evaluation.json").read_text())["fields"]
    after = evaluation(demo, "demo-lora")["fields"]
    assert after["full_price"]["within_10_percent"] >= 2 * before["full_price"]["within_10_percent"]
    assert after["category3_code"]["accuracy"] > before["category3_code"]["accuracy"]


def test_both_stages_are_exported_whole(demo: Path) -> None:
    for run in ("demo", "demo-lora"):
        model = Phi3VForCausalLM.from_pretrained(demo / "runs" / run / "export")
        assert Phi3VProcessor.from_pretrained(demo / "runs" / run / "export").tokenizer.vocab_size > 300
        assert not any("lora" in name for name, _ in model.named_parameters())


def test_the_reports_paths_are_printed_last(demo: Path) -> None:
    *_, first, second = (demo / "output.txt").read_text().splitlines()
    for line in (first, second):
        path = re.search(r"\S+report\.html$", line)
        assert path is not None
        assert (demo / path[0]).stat().st_size > 10_000
