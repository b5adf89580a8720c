"""The chart as helm sees it: only the helm binary is needed, no cluster."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from phi3k_jobs.kinds import KINDS
from phi3k_jobs.objects.manifest import Manifest

CHART = Path(__file__).parents[2] / "charts" / "phi3k"


@dataclass(frozen=True)
class Helm:
    """Runs helm on the chart, apart from the user's own helm settings."""

    program: Path
    home: Path

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run helm, and return however it ended."""
        environment = {**os.environ, "HOME": str(self.home), "HELM_CACHE_HOME": str(self.home / "cache")}
        environment["KUBECONFIG"] = str(self.home / "no-such-kubeconfig")
        return subprocess.run(
            [str(self.program), *arguments], input=stdin, capture_output=True, text=True, check=False, env=environment
        )

    def template(self, name: str, *arguments: str, values: str = "{}") -> list[Manifest]:
        """The objects of a release, without the pod of `helm test`."""
        result = self.run("template", name, str(CHART), "--skip-tests", *arguments, "--values=-", stdin=values)
        assert result.returncode == 0, result.stderr
        documents = [entry for entry in yaml.load_all(result.stdout, yaml.CSafeLoader) if entry]
        return [entry for document in documents for entry in document.get("items", [document])]

    def refusal(self, name: str, *arguments: str, values: str = "{}") -> str:
        """What helm says when it refuses to render."""
        result = self.run("template", name, str(CHART), *arguments, "--values=-", stdin=values)
        assert result.returncode != 0, "helm rendered it"
        return result.stderr


def job_of(rendered: list[Manifest]) -> Manifest:
    """The object that carries the run."""
    (job,) = (entry for entry in rendered if entry["kind"] in {kind.job.kind for kind in KINDS.values()})
    return job


def container_of(rendered: list[Manifest]) -> Manifest:
    """The trainer's container, of a job that holds the template of its pods."""
    job = job_of(rendered)
    kind = next(kind for kind in KINDS.values() if kind.job.kind == job["kind"])
    (container,) = kind.pods(job)["spec"]["containers"]
    return dict(container)


def values_of(mapping: Mapping[str, object]) -> str:
    """Values as YAML."""
    return yaml.safe_dump(dict(mapping), sort_keys=False)
