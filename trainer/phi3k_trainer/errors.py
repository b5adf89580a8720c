"""Errors that a user can act on, each with its documented exit code. `contract.py` has the codes."""

from phi3k_trainer import contract


class Phi3kError(Exception):
    """A problem the user can correct. The message says what is wrong, where, and what to do."""

    exit_code = contract.SOFTWARE_EXIT_CODE


class UsageError(Phi3kError):
    """The command line is wrong (EX_USAGE)."""

    exit_code = contract.USAGE_EXIT_CODE


class DataError(Phi3kError):
    """The data is wrong: a missing column, no rows, no labels, too many broken pictures (EX_DATAERR)."""

    exit_code = contract.DATA_EXIT_CODE


class MissingInputError(Phi3kError):
    """A file, directory, model or checkpoint that was named is not there or not readable (EX_NOINPUT)."""

    exit_code = contract.MISSING_INPUT_EXIT_CODE


class UnavailableError(Phi3kError):
    """A service (hub, cluster, tracker) or a part of this machine (a GPU) can't be had (EX_UNAVAILABLE)."""

    exit_code = contract.UNAVAILABLE_EXIT_CODE


class TrainingError(Phi3kError):
    """Training went wrong in a way that continuing can't correct, such as a loss that is not finite (EX_SOFTWARE)."""

    exit_code = contract.SOFTWARE_EXIT_CODE


class OutputError(Phi3kError):
    """The output can't be created, such as a run directory that belongs to another recipe (EX_CANTCREAT)."""

    exit_code = contract.OUTPUT_EXIT_CODE


class StorageError(Phi3kError):
    """Reading or writing failed, such as a full disk (EX_IOERR)."""

    exit_code = contract.STORAGE_EXIT_CODE


class UnreadableStorageError(Phi3kError):
    """Storage kept failing while a file was read, for a reason that passes: another attempt may read it."""

    exit_code = contract.UNREADABLE_STORAGE_EXIT_CODE


class PermissionDeniedError(Phi3kError):
    """Something is forbidden to this user (EX_NOPERM)."""

    exit_code = contract.PERMISSION_EXIT_CODE


class RecipeError(Phi3kError):
    """The recipe is wrong, or asks for what cannot fit (EX_CONFIG)."""

    exit_code = contract.RECIPE_EXIT_CODE
