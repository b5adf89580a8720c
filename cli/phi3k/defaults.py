"""The defaults files of this machine: which of them lie under a recipe.

Only the command line reads them. The recipe in a pod is complete, and the trainer has no code that looks for others.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from phi3k.printing import say
from phi3k_trainer.errors import MissingInputError, PermissionDeniedError
from phi3k_trainer.recipe import Layer, Recipe, read_recipe_text
from phi3k_trainer.recipe.yaml_reader import read_yaml

VARIABLE = "PHI3K_DEFAULTS"
USER_FILE = Path("phi3k", "defaults.yaml")
PROJECT_FILE = ".phi3k.yaml"


@dataclass(frozen=True)
class DefaultsFile:
    """One file of defaults."""

    path: Path
    is_own: bool
    """Whether the user has named it; a project's may be anybody's, such as a clone's."""

    def read(self) -> Layer:
        """Read its text.

        Raises:
            MissingInputError: it can't be read.
            RecipeError: it isn't text.
        """
        if not self.path.is_file():
            named = f" ({VARIABLE} names it)" if VARIABLE in os.environ else ""
            raise MissingInputError(f"there is no defaults file {self.path}{named}")
        return Layer(str(self.path), read_recipe_text(self.path))


def defaults_files(start: Path) -> list[DefaultsFile]:
    """Return the files that apply in a directory; a later one outweighs those before it.

    Raises:
        PermissionDeniedError: a project's file is another user's, where everyone may put one.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return [DefaultsFile(Path(named).expanduser(), is_own=True)] if named else []
    found = []
    user = user_file()
    if user is not None and user.exists():
        found.append(DefaultsFile(user, is_own=True))
    project = _project_file(start)
    if project is not None:
        found.append(DefaultsFile(project, is_own=False))
    return found


def user_file() -> Path | None:
    """Return where the user's own file is, or would be; None where the user has no home."""
    configuration = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if configuration.is_absolute():  # the XDG specification: a relative one is ignored
        return configuration / USER_FILE
    home = _home()
    return home / ".config" / USER_FILE if home else None


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _project_file(start: Path) -> Path | None:
    """Return the nearest file above `start`, up to the root of a repository or the home directory, both included."""
    home = _home()
    for directory in (start, *start.parents):
        file = directory / PROJECT_FILE
        if file.exists():
            _refuse_planted(file)
            return file
        if directory == home or (directory / ".git").exists():
            return None
    return None


def _refuse_planted(file: Path) -> None:
    """In a directory such as /tmp, anyone could give defaults to everyone."""
    if file.parent.stat().st_mode & stat.S_IWOTH and file.stat().st_uid != os.geteuid():
        raise PermissionDeniedError(
            f"{file} is another user's, in a directory where everyone may write: remove it, or set {VARIABLE} to the "
            "defaults you want (empty: none)"
        )


def name_own_server(recipe: Recipe, own: Layer) -> None:
    """Let the user's key go to the W&B server in force if the user's own file names it, as WANDB_BASE_URL would."""
    values = read_yaml(own.text).value
    for key in ("tracking", "wandb", "base_url"):
        values = values.get(key) if isinstance(values, dict) else None
    if values is not None and values == recipe.tracking.wandb.base_url:
        os.environ["WANDB_BASE_URL"] = str(values)


def note_project_file(file: DefaultsFile) -> None:
    """Say that a project's file takes part, for it may have come with a clone; one process of a run is enough."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        say(f"note: defaults of {file.path} apply", err=True)
