"""The names of a run's files, and what to do when one of them can't be used."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from phi3k_trainer.files import damaged

RECIPE = "recipe.yaml"
DATASET = "dataset.json"
BASE_RECORD = "base.json"
QUARANTINE = "quarantine.jsonl"
METRICS = "metrics.jsonl"
ENVIRONMENT = "environment.json"
EVALUATION = "evaluation.json"
FINISHED = "finished.json"
REPORT = "report.html"
LOCK = "lock"
EXPORT = "export"
EXPORT_RECORD = "export.json"
CHECKPOINTS = "checkpoints"
PREDICTIONS = "predictions"
LOGS = "logs"

REMEDIES: Mapping[str, str] = {
    RECIPE: "It holds the recipe that the run began with: restore it from a backup, or start under another name",
    DATASET: "It holds the digest of the data that the run began with: restore it from a backup, or start under "
    "another name",
    BASE_RECORD: "It holds the digests of the model that the run began with: restore it from a backup, or start under "
    "another name",
    QUARANTINE: "Remove it: it is written again with --resume",
    METRICS: "Remove it: the run continues without the curves that it held",
    ENVIRONMENT: "Remove it: it is written again with --resume",
    EVALUATION: "Remove it: it is written again with --resume, or by phi3k eval",
    PREDICTIONS: "Remove it: it is written again by phi3k eval",
    FINISHED: "Remove it: it is written again when the run ends",
    REPORT: "Remove it: it is written again with --resume, or by phi3k eval",
    LOCK: "Remove it",
    CHECKPOINTS: "Restore it from a backup, or start under another name",
    LOGS: "Move it away",
    EXPORT: "Move it away",
    EXPORT_RECORD: "Remove it together with the directory export: both are written again with --resume",
}
"""What to do with a file or folder that can't be used, by its name."""

_FOLDERS = (CHECKPOINTS, PREDICTIONS, LOGS, EXPORT)


@dataclass(frozen=True)
class RunDirectory:
    """The files and folders of a run."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe in force."""
        return self.path / RECIPE

    @property
    def dataset(self) -> Path:
        """The digest of the data that the run began with."""
        return self.path / DATASET

    @property
    def base_record(self) -> Path:
        """The digests of the model that the run began with."""
        return self.path / BASE_RECORD

    @property
    def quarantine(self) -> Path:
        """The rows set aside."""
        return self.path / QUARANTINE

    @property
    def metrics(self) -> Path:
        """Every logged number."""
        return self.path / METRICS

    @property
    def environment(self) -> Path:
        """Versions and devices of the last start."""
        return self.path / ENVIRONMENT

    @property
    def checkpoints(self) -> Path:
        """The checkpoints, one directory each."""
        return self.path / CHECKPOINTS

    @property
    def evaluation(self) -> Path:
        """The result of the last evaluation."""
        return self.path / EVALUATION

    @property
    def finished(self) -> Path:
        """The record that nothing is left to do."""
        return self.path / FINISHED

    @property
    def report(self) -> Path:
        """The run on one page."""
        return self.path / REPORT

    @property
    def logs(self) -> Path:
        """The lines of every attempt of a replica."""
        return self.path / LOGS

    @property
    def export(self) -> Path:
        """The model that the run wrote at its end."""
        return self.path / EXPORT

    @property
    def export_record(self) -> Path:
        """What that model is, and the digests of its files."""
        return self.path / EXPORT_RECORD

    @property
    def lock(self) -> Path:
        """The lock file of the process that trains here."""
        return self.path / LOCK

    @property
    def base(self) -> Path:
        """The model that training starts from, where it was made for this run (`tiny`)."""
        return self.path / "base"

    @property
    def before(self) -> "RunDirectory":
        """The evaluation of the model that training starts from."""
        return RunDirectory(self.path / "before")

    def predictions(self, step: int) -> Path:
        """The answers after `step`."""
        return self.path / PREDICTIONS / f"step-{step}.jsonl"

    def check_kinds(self) -> None:
        """Refuse anything of the wrong kind under one of these names, such as a FIFO or a directory in place of a file.

        Raises:
            DamagedFileError: it names the path and what to do.
        """
        for name, remedy in REMEDIES.items():
            path = self.path / name
            try:
                mode = path.stat().st_mode
            except FileNotFoundError:
                if not path.is_symlink():
                    continue
                raise damaged(path, "it is a broken link", remedy) from None
            except OSError as error:
                raise damaged(path, error, remedy) from error
            if name in _FOLDERS:
                if not stat.S_ISDIR(mode):
                    raise damaged(path, "not a directory", remedy)
            elif not stat.S_ISREG(mode):
                raise damaged(path, "not a regular file", remedy)
