"""The chart's files agree with the recipe, with the package and with each other."""

import re
from importlib.metadata import version

import pytest
import yaml

from phi3k_jobs.kinds import KINDS
from tests.chart.charting import CHART, Helm


def test_every_value_is_described(helm: Helm) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    paths = [
        f"{name}.{inner}" if inner else name
        for name, value in values.items()
        for inner in (value if isinstance(value, dict) and value else [""])
    ]
    rows = re.findall(r"^\| `([^`]+)` \|.*\| (.+) \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == paths


def test_the_chart_has_the_packages_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == version("phi3k")


def test_strict_linting_finds_nothing(helm: Helm) -> None:
    result = helm.run("lint", "--strict", str(CHART), "--set=gpus=8")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WARNING" not in result.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_makes_one_object(helm: Helm, kind: str) -> None:
    values = ["--set=disruption_budget=true,pod_monitor=true,submitter.create=true", f"--set=kind={kind}"]
    values += ["--set=submitter.subjects[0].kind=Group,submitter.subjects[0].name=ml"]
    result = helm.run("template", "own", str(CHART), *values)
    assert result.returncode == 0, result.stderr
    sources = re.findall(r"^# Source: phi3k/templates/(.+)$", result.stdout, re.MULTILINE)
    assert len(sources) == len(set(sources))
    jobs = {"pytorchjob": {"pytorchjob.yaml"}, "trainjob": {"trainjob.yaml", "trainingruntime.yaml"}}
    jobs |= {"job": {"job.yaml", "service.yaml"}, "jobset": {"jobset.yaml"}}
    written = {str(path.relative_to(CHART / "templates")) for path in (CHART / "templates").rglob("*.yaml")}
    assert set(sources) == written - set.union(*(jobs[other] for other in jobs.keys() - {kind}))


def test_the_notes_name_the_next_three_commands(helm: Helm) -> None:
    result = helm.run("install", "my-run", str(CHART), "--namespace=team", "--dry-run=client")
    assert result.returncode == 0, result.stderr
    notes = result.stdout.partition("NOTES:")[2]
    commands = re.findall(r"^  (\S+ \S+)", notes, re.MULTILINE)
    assert commands == ["kubectl logs", "kubectl describe", "helm test"]
    assert len(re.findall(r"--namespace team", notes)) == 4
    assert "my-run is a job of 1 x 8 nvidia.com/gpu in namespace team" in notes


def test_helm_test_runs_doctor_as_the_trainer_would_run(helm: Helm) -> None:
    result = helm.run("template", "own", str(CHART), "--set=kind=job")
    pod = next(entry for entry in yaml.safe_load_all(result.stdout) if entry["kind"] == "Pod")
    job = next(entry for entry in yaml.safe_load_all(result.stdout) if entry["kind"] == "Job")
    trainer = job["spec"]["template"]["spec"]
    (doctor,), (container,) = pod["spec"]["containers"], trainer["containers"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert doctor["command"] == ["/opt/phi3k/bin/phi3k", "doctor"]
    for field in ("args", "image", "securityContext", "volumeMounts"):
        assert doctor[field] == container[field]
    for field in ("volumes", "securityContext", "serviceAccountName", "automountServiceAccountToken"):
        assert pod["spec"][field] == trainer[field]
    assert "nvidia.com/gpu" not in doctor["resources"]["limits"]


def test_the_pod_of_helm_test_has_no_network_and_bounded_disk(helm: Helm) -> None:
    rendered = list(yaml.safe_load_all(helm.run("template", "own", str(CHART), "--set=kind=job").stdout))
    pod = next(entry for entry in rendered if entry["kind"] == "Pod")
    (policy,) = (entry for entry in rendered if entry["kind"] == "NetworkPolicy" and "annotations" in entry["metadata"])
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert not policy["spec"].keys() & {"ingress", "egress"}
    assert pod["spec"]["containers"][0]["resources"]["limits"]["ephemeral-storage"] == "20Gi"
