"""Reading what a W&B-compatible server (openwandb) has been told."""

from dataclasses import dataclass
from typing import Any

import httpx

KEY = "0123456789abcdef0123456789abcdef01234567"
AXIS = "train/step"


@dataclass(frozen=True)
class WandbServer:
    """A running openwandb."""

    url: str

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            return httpx.get(self.url + "/login", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def request(self, path: str) -> httpx.Response:
        """A good answer of its API; httpx.HTTPStatusError otherwise."""
        return httpx.get(self.url + path, auth=("api", KEY), timeout=10).raise_for_status()

    def get(self, path: str) -> Any:
        """The JSON of an answer."""
        return self.request(path).json()

    def run_ids(self, project: str) -> list[str]:
        """The runs of a project."""
        return [str(run["run_id"]) for run in self.get(f"/api/v2/projects/default/{project}/runs")["runs"]]

    def curve(self, run: str, name: str) -> list[tuple[float, float]]:
        """The points of a metric over our own axis, in the order of that axis, each as often as it was logged.

        The server knows which points were logged at one time.
        """
        values = self.points(run, name)
        axis = {point["wall_time"]: point["value"] for point in self.points(run, AXIS)}
        return sorted((axis[point["wall_time"]], point["value"]) for point in values)

    def points(self, run: str, name: str) -> list[dict[str, float]]:
        """A metric as the server keeps it: values and times."""
        points: list[dict[str, float]] = self.get(f"/api/v2/runs/{run}/metrics?key={name}")["metrics"]
        return points

    def config(self, run: str) -> dict[str, Any]:
        """The run's configuration."""
        stored = self.get(f"/api/v2/runs/{run}/config")["config"]
        return {key: entry["value"] for key, entry in stored.items()}

    def files(self, run: str) -> dict[str, str]:
        """Where the server keeps the run's files, by name."""
        return {file["name"]: file["path"] for file in self.get(f"/api/v1/runs/{run}/files")["files"]}
