"""`phi3k ls`, `fetch` and `data push` on the real cluster: through lost pods, Ctrl-C, and each other."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from tools.cluster.cluster import Cluster
from tools.cluster.sandbox import wait_until

from phi3k.main import main
from phi3k_jobs.transfer.landing import UNFINISHED

from .command import Command, Running
from .conftest import new_namespace
from .test_chart import SMALL

# The image has gigabytes, and loading it counts as part of the first test.
pytestmark = pytest.mark.timeout(1800)

LONG = 150_000_000


@pytest.fixture(scope="module")
def settings(product_image: str) -> list[str]:
    stated = (*SMALL, f"cluster.image={product_image}", "cluster.image_pull_policy=Never")
    return [word for one in stated for word in ("--set", one)]


@pytest.fixture(scope="module")
def phi3k(cluster: Cluster) -> Iterator[Command]:
    if cluster.sandbox is None:
        pytest.skip("the claims' volumes aren't ours to write to")
    with new_namespace(cluster) as name:
        cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield Command(cluster, name, str(cluster.kubeconfig))


@pytest.fixture(scope="module")
def trained(phi3k: Command, settings: list[str]) -> str:
    """A run that has trained to its end, and whose job and pods are gone."""
    assert phi3k("submit", "demo", "--name", "trained", *settings).code == 0
    ended = phi3k("wait", "trained")
    assert ended.code == 0, ended.out + ended.err + phi3k("logs", "trained").out
    assert phi3k("cancel", "trained", "--yes").code == 0
    phi3k.wait_until_gone()
    return "trained"


def volume_of(phi3k: Command, claim: str) -> Path:
    """The directory behind a claim."""
    here = ("--namespace", phi3k.namespace)
    volume = phi3k.cluster.kubectl("get", "pvc", claim, *here, "--output=jsonpath={.spec.volumeName}")
    return Path(phi3k.cluster.kubectl("get", "pv", volume, "--output=jsonpath={.spec.hostPath.path}"))


@pytest.fixture(scope="module")
def long(phi3k: Command, trained: str) -> str:
    """A run with an export that takes a while."""
    folder = volume_of(phi3k, "phi3k-runs") / "long/export"
    folder.mkdir(parents=True)
    with (folder / "model.safetensors").open("wb") as file:
        for _ in range(LONG // 1_000_000):
            file.write(os.urandom(1_000_000))
    (folder / "config.json").write_text("{}")
    return "long"


def begun(folder: Path) -> int:
    """How many bytes of unfinished files are there."""
    partials = (folder / UNFINISHED).glob("*") if (folder / UNFINISHED).exists() else ()
    return sum(path.stat().st_size for path in partials if path.exists())


def fetch_long(phi3k: Command, settings: list[str], to: Path) -> AbstractContextManager[Running]:
    return phi3k.beside("fetch", "long", "export", "--to", str(to), "--output", "json", *settings)


def same(phi3k: Command, to: Path) -> bool:
    place = "export/model.safetensors"
    return (to / "long" / place).read_bytes() == (volume_of(phi3k, "phi3k-runs") / "long" / place).read_bytes()


def test_what_a_run_left_is_listed_when_its_job_is_gone(phi3k: Command, trained: str, settings: list[str]) -> None:
    listed = phi3k("ls", trained, "--output", "json", *settings)
    assert listed.code == 0, listed.err
    names = {entry["path"] for entry in listed.json["files"]}
    assert {"report.html", "recipe.yaml", "checkpoints/step-000003/MANIFEST.json"} <= names
    phi3k.wait_until_gone()


def test_a_fetched_checkpoint_is_exported_here(
    phi3k: Command, trained: str, settings: list[str], tmp_path: Path
) -> None:
    fetched = phi3k("fetch", trained, "checkpoint", "--to", str(tmp_path), *settings)
    assert fetched.code == 0, fetched.err
    assert "verified" in fetched.out
    phi3k.wait_until_gone()
    assert main(["export", str(tmp_path / trained), str(tmp_path / "model")]) == 0
    again = phi3k("fetch", trained, "checkpoint", "--to", str(tmp_path), *settings)
    assert "all of them were here" in again.out


def test_what_is_not_there_is_named_with_what_is(phi3k: Command, trained: str, settings: list[str]) -> None:
    missing = phi3k("fetch", trained, "export", *settings)
    assert missing.code == 66
    assert "trained has no export yet; what there is: checkpoint, evaluation" in missing.err
    unknown = phi3k("ls", "none", *settings)
    assert unknown.code == 66
    assert "the claim has no run none; it has: " in unknown.err
    claimless = phi3k("ls", trained, *settings, "--set", "cluster.runs.claim=none")
    assert claimless.code == 66
    assert "has no claim none" in claimless.err
    phi3k.wait_until_gone()


def test_a_run_that_has_its_job_needs_no_settings(
    phi3k: Command, trained: str, settings: list[str], tmp_path: Path
) -> None:
    """Claim, image and placement come from its own recipe."""
    assert phi3k("submit", "demo", "--name", "present", *settings).code == 0
    assert phi3k("wait", "present").code == 0
    fetched = phi3k("fetch", "present", "--to", str(tmp_path))
    assert fetched.code == 0, fetched.err
    assert (tmp_path / "present/report.html").read_text().startswith("<!doctype html>")
    assert phi3k("cancel", "present", "--yes").code == 0
    phi3k.wait_until_gone()


def test_ctrl_c_leaves_nothing_half_written_and_the_same_command_continues(
    phi3k: Command, long: str, settings: list[str], tmp_path: Path
) -> None:
    with fetch_long(phi3k, settings, tmp_path) as first:
        first.wait_for(lambda: begun(tmp_path / "long") > 1_000_000)
        first.interrupt()
        result = first.result()
    assert result.code == 130
    assert "the same command continues" in result.err
    assert not (tmp_path / "long/export/model.safetensors").exists()
    phi3k.wait_until_gone()
    with fetch_long(phi3k, settings, tmp_path) as second:
        result = second.result()
    assert result.code == 0, result.err
    assert 0 < result.json["sent"] < LONG
    assert same(phi3k, tmp_path)


def test_a_pod_that_is_killed_is_replaced_and_the_file_continued(
    phi3k: Command, long: str, settings: list[str], tmp_path: Path
) -> None:
    here = ("--namespace", phi3k.namespace)
    with fetch_long(phi3k, settings, tmp_path) as fetching:
        fetching.wait_for(lambda: begun(tmp_path / "long") > 1_000_000)
        phi3k.cluster.kubectl("delete", "pods", "--selector=phi3k/run", *here, "--force", "--grace-period=0")
        result = fetching.result()
    assert result.code == 0, result.err
    assert "Continuing from what has arrived" in result.err
    assert result.json["sent"] < LONG
    assert same(phi3k, tmp_path)
    phi3k.wait_until_gone()


def test_two_fetches_at_once_do_not_disturb_each_other(
    phi3k: Command, long: str, settings: list[str], tmp_path: Path
) -> None:
    places = [tmp_path / "one", tmp_path / "one", tmp_path / "other"]
    with ExitStack() as stack:
        for fetching in [stack.enter_context(fetch_long(phi3k, settings, place)) for place in places]:
            result = fetching.result()
            assert result.code == 0, result.err
    assert same(phi3k, tmp_path / "one")
    assert same(phi3k, tmp_path / "other")
    phi3k.wait_until_gone()


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    assert main(["data", "sample", str(folder), "--rows", "60", "--image-size", "64"]) == 0
    return folder / "catalogue.parquet"


def test_pushed_data_trains_to_the_end(phi3k: Command, trained: str, settings: list[str], catalogue: Path) -> None:
    own = [*settings, "--set", "name=own", "--set", "data.source=dbq"]
    local = ["--set", f"data.path={catalogue}"]
    refused = phi3k("submit", "demo", *own, *local)
    assert refused.code == 66
    assert "phi3k data push RECIPE" in refused.err
    pushed = phi3k("data", "push", "demo", *own, *local, "--output", "json")
    assert pushed.code == 0, pushed.err
    assert pushed.json["files"] == 61
    assert pushed.json["set"] == ["data.path=/cache/pushed/own/catalogue.parquet"]
    again = phi3k("data", "push", "demo", *own, *local, "--output", "json")
    assert again.json["sent"] == 0
    submitted = phi3k("submit", "demo", *own, *(word for one in pushed.json["set"] for word in ("--set", one)))
    assert submitted.code == 0, submitted.err
    ended = phi3k("wait", "own")
    assert ended.code == 0, ended.err + phi3k("logs", "own").out
    assert phi3k("cancel", "own", "--yes").code == 0
    phi3k.wait_until_gone()


def test_a_push_that_was_interrupted_continues(
    phi3k: Command, trained: str, settings: list[str], tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/long.png").write_bytes(os.urandom(LONG))
    (tmp_path / "rows.csv").write_text("title,image\na,pictures/long.png\n")
    stated = ["name=interrupted", "data.source=csv", f"data.path={tmp_path / 'rows.csv'}", "data.image=image"]
    own = [*settings, *(word for one in [*stated, 'data.answer="{title}"'] for word in ("--set", one))]
    cache = volume_of(phi3k, "phi3k-cache") / "pushed"

    def arrived() -> int:
        partials = (cache / ".interrupted.incoming").glob("*") if cache.exists() else ()
        return sum(path.stat().st_size for path in partials)

    with phi3k.beside("data", "push", "demo", *own) as pushing:
        pushing.wait_for(lambda: arrived() > 1_000_000)
        pushing.interrupt()
        assert pushing.result().code == 130
    assert not list((cache / "interrupted").iterdir())
    phi3k.wait_until_gone()
    continued = phi3k("data", "push", "demo", *own, "--output", "json")
    assert continued.code == 0, continued.err
    assert 0 < continued.json["sent"] < LONG
    assert (cache / "interrupted/pictures/long.png").read_bytes() == (tmp_path / "pictures/long.png").read_bytes()


def test_a_killed_command_leaves_a_pod_that_ends_by_itself(
    phi3k: Command, long: str, settings: list[str], tmp_path: Path
) -> None:
    with fetch_long(phi3k, settings, tmp_path) as fetching:
        fetching.wait_for(lambda: begun(tmp_path / "long") > 1_000_000)
    assert any(name.startswith("Job long-transfer-") for name in phi3k.objects())
    wait_until(lambda: not phi3k.objects(), "the pod's end", 400)
