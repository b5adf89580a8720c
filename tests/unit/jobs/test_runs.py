"""Which jobs of a run's name are runs."""

import pytest

from phi3k_jobs.runs import is_made_of_another

TRAINJOB = {"kind": "TrainJob", "name": "demo", "uid": "u", "controller": True}


@pytest.mark.parametrize(
    ("owners", "is_made"),
    [
        # What Kubeflow Trainer writes on the JobSet of a TrainJob.
        ([TRAINJOB], True),
        ([], False),
        # A team's own object may own a run, as phi3k's jobs own what is around them.
        ([TRAINJOB | {"controller": False}], False),
        ([TRAINJOB | {"kind": "Workflow", "name": "nightly"}], False),
    ],
)
def test_a_job_that_an_operator_makes_of_another_of_its_name_is_no_run(owners: list[dict], is_made: bool) -> None:
    assert is_made_of_another({"metadata": {"name": "demo", "ownerReferences": owners}}) is is_made


def test_a_job_without_owners_is_made_of_no_other() -> None:
    assert not is_made_of_another({"metadata": {"name": "demo"}})
