"""`phi3k cache` on the real cluster: the Job runs beside the claim, its answer is shown, and only the claim stays."""

import time
from contextlib import AbstractContextManager

from tools.cluster.stand_in import FOREVER, overrides

from .command import Command, Result, Running


def line(script: str, verb: str, *arguments: str) -> list[str]:
    """`phi3k cache` with `script` for a trainer."""
    sets = [argument for override in overrides(script) for argument in ("--set", override)]
    return ["cache", verb, *sets, *arguments]


def cache(phi3k: Command, script: str, verb: str, *arguments: str) -> Result:
    return phi3k(*line(script, verb, *arguments))


def beside(phi3k: Command, script: str, verb: str, *arguments: str) -> AbstractContextManager[Running]:
    return phi3k.beside(*line(script, verb, *arguments))


def test_warming_shows_the_log_and_what_is_there_now(phi3k: Command) -> None:
    answer = '{"train": 2700, "evaluation": 300, "quarantined": 0, "digest": "d", "model": null}'
    result = cache(phi3k, f"echo reading: 5/9; sleep 1; echo '{answer}'", "warm", "demo")
    assert result.code == 0, result.err
    assert "reading: 5/9" in result.err
    assert result.out == "2,700 rows to train on, 300 held out; model: made by the run\n"
    phi3k.wait_until_gone()
    claims = phi3k.cluster.kubectl("get", "pvc", "--namespace", phi3k.namespace, "--output=name")
    assert claims.split() == ["persistentvolumeclaim/phi3k-cache"]


def test_what_can_not_be_fetched_is_told_with_its_own_code(phi3k: Command) -> None:
    result = cache(phi3k, "echo error: model.base x is not there; exit 66", "warm", "demo")
    assert result.code == 66
    assert result.err.splitlines()[-1] == "phi3k: model.base x is not there"
    phi3k.wait_until_gone()


def test_entries_are_listed_and_removed(phi3k: Command) -> None:
    entry = '{"name": "model/a/b", "size_bytes": 8589934592, "changed": 1767225600}'
    listed = cache(phi3k, f"echo '[{entry}]'", "ls", "demo", "--output", "json")
    assert [found["name"] for found in listed.json] == ["model/a/b"]
    removed = cache(phi3k, f"echo '{entry}'", "rm", "model/a/b", "demo", "--yes")
    assert removed.out == "model/a/b is removed: 8.0 GiB are free again\n"
    phi3k.wait_until_gone()


def test_a_cache_that_is_being_warmed_is_not_warmed_twice(phi3k: Command) -> None:
    with beside(phi3k, FOREVER, "warm", "demo") as first:
        first.wait_for(lambda: "Job demo-cache-warm" in phi3k.objects())
        second = cache(phi3k, FOREVER, "warm", "demo")
        assert second.code == 73
        assert "phi3k logs -f demo-cache-warm" in second.err
        phi3k("cancel", "demo-cache-warm", "--yes")
        assert first.result().code != 0


def test_what_the_job_waits_for_is_said(phi3k: Command) -> None:
    """The pod never starts, so that the log alone would say nothing."""
    here = ("--namespace", phi3k.namespace)
    reasons = "--output=jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}"
    with beside(phi3k, "true", "warm", "demo", "--set", "cluster.image=localhost:1/none:0") as warming:
        warming.wait_for(lambda: "Image" in phi3k.cluster.kubectl("get", "pods", *here, reasons))
        time.sleep(5)
        phi3k.cluster.kubectl("delete", "job", "demo-cache-warm", *here)
        result = warming.result()
    assert "the image localhost:1/none:0 can't be pulled" in result.err
    assert "was cancelled" in result.err
    phi3k.wait_until_gone()


def test_the_job_has_an_account_and_a_policy_of_its_own(phi3k: Command) -> None:
    expected = {"Job demo-cache-list", "ServiceAccount demo-cache-list", "NetworkPolicy demo-cache-list"}
    with beside(phi3k, "sleep 5; echo '[]'", "ls", "demo") as listing:
        listing.wait_for(lambda: expected <= set(phi3k.objects()))
        assert listing.result().code == 0
    phi3k.wait_until_gone()
