"""The run at Weights & Biases, which never stops or holds up the training."""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from phi3k_trainer.evaluation.predictions import Prediction
from phi3k_trainer.recipe import Recipe, without_env
from phi3k_trainer.tracking.thumbnails import thumbnail
from phi3k_trainer.tracking.tracker import Tracker
from phi3k_trainer.tracking.wandb_mode import KEY_VARIABLE, Choice, Server, choose_mode, server_address

INIT_SECONDS = 15.0
FINISH_SECONDS = 30.0
UPLOAD_SECONDS = 600.0
MARGIN_SECONDS = 15.0
TABLE_PICTURE_PIXELS = 336


def start_wandb(
    recipe: Recipe, run_directory: Path, *, run_id: str, environment: Mapping[str, Any], report: Tracker
) -> Tracker:
    """Start or continue the run `run_id` and say in one note what was chosen and why.

    Args:
        recipe: The recipe in force; all of it but `cluster.env` becomes the run's configuration.
        run_directory: W&B keeps its files in <run_directory>/wandb.
        run_id: The same across restarts makes it one run.
        environment: What `describe_environment` gives; stands in the configuration too.
        report: Is told the choice, the address and each kind of failure once.

    Returns:
        The tracker; a silent one when W&B is off or can't be started at all.
    """
    choice = choose_mode(recipe.tracking.wandb)
    if choice.mode == "off":
        report.note(f"W&B is off, because {choice.reason}")
        return Tracker()
    if choice.mode == "online":
        try:
            run = _init(recipe, run_directory, run_id, environment, "online")
        except Exception as error:  # whatever W&B raises, training goes on
            _forget_failed_start()
            choice = Choice("offline", f"going online failed: {first_line(error)}")
        else:
            report.note(f"W&B is online, because {choice.reason}: {run.url}")
            return WandbRun(run, recipe, report, server=choice.server)
    try:
        run = _init(recipe, run_directory, run_id, environment, "offline")
    except Exception as error:  # whatever W&B raises, training goes on
        report.note(f"W&B is off, because it can't be started: {first_line(error)}")
        return Tracker()
    report.note(f"W&B is offline, because {choice.reason}: {Path(run.dir).parent}")
    return WandbRun(run, recipe, report, server=None)


def _forget_failed_start() -> None:
    import wandb

    wandb.teardown()  # else W&B says that the run's id is in use


def _init(
    recipe: Recipe, directory: Path, run_id: str, environment: Mapping[str, Any], mode: Literal["online", "offline"]
) -> Any:
    import wandb

    section = recipe.tracking.wandb
    # W&B reads the variable itself, and takes white space around the key for a part of it.
    if key := os.environ.get(KEY_VARIABLE):
        os.environ[KEY_VARIABLE] = key.strip()
    directory.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=section.project,
        entity=section.entity,
        name=recipe.name,
        group=recipe.name,
        job_type="train",
        id=run_id,
        resume="allow",
        mode=mode,
        dir=str(directory),
        config={"recipe": without_env(recipe).model_dump(mode="json"), "environment": dict(environment)},
        settings=wandb.Settings(
            base_url=server_address(section),
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
            silent=True,
            console="off",  # the progress bar is no log; a pod's log has the lines
        ),
    )
    run.define_metric("train/step")
    run.define_metric("*", step_metric="train/step")
    run.define_metric("eval/loss", step_metric="train/step", summary="min")
    return run


class WandbRun(Tracker):
    """Passes everything on to W&B in a thread of its own.

    Training never waits for a slow server, and all calls go through `_attempt`, where failures end.
    """

    def __init__(self, run: Any, recipe: Recipe, report: Tracker, *, server: Server | None) -> None:
        """Report to the started `run`; `report` is told what fails; `server` is None for an offline run."""
        self._run = run
        self._recipe = recipe
        self._report = report
        self._server = server
        self._failed: set[str] = set()
        self._uploads: list[Any] = []
        self._preempted = False
        self._calls: queue.SimpleQueue[tuple[str, Callable[[], object]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self._attempt(*call)

    def _attempt(self, doing: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # whatever W&B raises, training goes on
            if doing not in self._failed:
                self._failed.add(doing)
                self._report.note(f"W&B: {doing} failed ({first_line(error)}); the run continues")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log against our own axis, because W&B's own step starts again after an offline restart."""
        values = {"train/step": step, **metrics}
        self._calls.put(("logging metrics", lambda: self._run.log(values)))

    def log_predictions(self, step: int, predictions: Sequence[Prediction]) -> None:
        """Log the table `eval/predictions` (step, key, pictures, prompt, target, answer), the panel `eval/pictures`."""
        self._calls.put(("logging the table of predictions", lambda: self._log_table(step, predictions)))

    def _log_table(self, step: int, predictions: Sequence[Prediction]) -> None:
        self._check_server()
        table = prediction_table(step, predictions, self._recipe.data.max_pixels)
        pictures = captioned_pictures(predictions, self._recipe.data.max_pixels)
        self._run.log({"train/step": step, "eval/predictions": table, "eval/pictures": pictures})

    def log_checkpoint(self, path: Path, aliases: Sequence[str]) -> None:
        """Upload a checkpoint as a version of the artifact `checkpoint-<run id>` (online only)."""
        if self._server and self._recipe.tracking.wandb.artifacts:
            self._calls.put(("uploading a checkpoint", lambda: self._upload(path, aliases)))

    def _upload(self, path: Path, aliases: Sequence[str]) -> None:
        import wandb

        self._check_server()
        artifact = wandb.Artifact(f"checkpoint-{self._run.id}", type="model", metadata={"directory": path.name})
        # A checkpoint never changes once it has its name, so W&B need not copy it before the upload.
        artifact.add_dir(str(path), policy="immutable", skip_cache=True)
        self._uploads.append(self._run.log_artifact(artifact, aliases=list(aliases)))

    def _check_server(self) -> None:
        """Fail at once where W&B would ask a server that is gone for half a minute."""
        if self._server and (problem := self._server.problem()):
            raise ConnectionError(problem)

    def preempting(self) -> None:
        """Let W&B show the run as preempted instead of crashed; uploads under way are not waited for."""
        self._preempted = True
        self._calls.put(("marking the run as preempting", self._run.mark_preempting))

    def finish(self, exit_code: int) -> None:
        """Send what is left: FINISH_SECONDS for metrics, UPLOAD_SECONDS for checkpoints while the server answers."""
        self._calls.put(("waiting for uploads", self._wait_for_uploads))
        self._calls.put(("finishing the run", lambda: self._run.finish(exit_code)))
        self._calls.put(None)
        self._thread.join(FINISH_SECONDS + MARGIN_SECONDS + (0 if self._preempted else UPLOAD_SECONDS))
        if self._thread.is_alive() or self._server is None or self._server.problem():
            self._report.note(f"send W&B what it did not get with: wandb sync {Path(self._run.dir).parent}")

    def _wait_for_uploads(self) -> None:
        from wandb.sdk.artifacts.exceptions import WaitTimeoutError

        deadline = time.monotonic() + UPLOAD_SECONDS
        for artifact in self._uploads:
            while not self._preempted and time.monotonic() < deadline:
                self._check_server()
                with contextlib.suppress(WaitTimeoutError):
                    artifact.wait(timeout=10)
                    break


def prediction_table(step: int, predictions: Sequence[Prediction], max_pixels: int) -> Any:
    """A wandb.Table of predictions; rows with fewer pictures than the others have empty cells."""
    import wandb

    pictures = max((len(prediction.images) for prediction in predictions), default=0)
    names = ["picture"] if pictures == 1 else [f"picture {number + 1}" for number in range(pictures)]
    table = wandb.Table(columns=["step", "key", *names, "prompt", "target", "answer"])
    for row in predictions:
        small = [thumbnail(path, TABLE_PICTURE_PIXELS, max_pixels=max_pixels) for path in row.images]
        images = [wandb.Image(image) for image in small]
        padding = [None] * (pictures - len(images))
        table.add_data(step, row.key, *images, *padding, row.prompt, row.target, row.answer)
    return table


def captioned_pictures(predictions: Sequence[Prediction], max_pixels: int) -> list[Any]:
    """The pictures of predictions as wandb.Images, with target and answer below: a panel shows them step by step."""
    import wandb

    return [
        wandb.Image(thumbnail(path, TABLE_PICTURE_PIXELS, max_pixels=max_pixels), caption=f"{row.target}\n{row.answer}")
        for row in predictions
        for path in row.images
    ]


def first_line(error: Exception) -> str:
    """What an exception says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
