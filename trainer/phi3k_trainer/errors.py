"""Errors that a user can act on, each with its documented exit code.

Exit codes follow sysexits(3): 64-78 are permanent (running again changes nothing until
something is corrected), 128 and above invite another try, 143 means preempted and saved.
"""

PREEMPTED_EXIT_CODE = 143
# Nobody said why: a lost peer or a failed rendezvous, which another attempt may not meet.
UNEXPLAINED_EXIT_CODE = 129
# sysexits(3): what running again can not correct.
PERMANENT_EXIT_CODES = range(64, 79)


class Phi3kError(Exception):
    """A problem the user can correct. The message says what is wrong, where, and what to do."""

    exit_code = 70


class UsageError(Phi3kError):
    """The command line is wrong (EX_USAGE)."""

    exit_code = 64


class DataError(Phi3kError):
    """The data is wrong: a missing column, no rows, no labels, too many broken pictures (EX_DATAERR)."""

    exit_code = 65


class MissingInputError(Phi3kError):
    """A file, directory, model or checkpoint that was named is not there or not readable (EX_NOINPUT)."""

    exit_code = 66


class UnavailableError(Phi3kError):
    """A service (hub, cluster, tracker) or a part of this machine (a GPU) can't be had (EX_UNAVAILABLE)."""

    exit_code = 69


class TrainingError(Phi3kError):
    """Training went wrong in a way that continuing can't correct, such as a loss that is not finite (EX_SOFTWARE)."""

    exit_code = 70


class OutputError(Phi3kError):
    """The output can't be created, such as a run directory that belongs to another recipe (EX_CANTCREAT)."""

    exit_code = 73


class StorageError(Phi3kError):
    """Reading or writing failed, such as a full disk (EX_IOERR)."""

    exit_code = 74


class UnreadableStorageError(Phi3kError):
    """Storage kept failing while a file was read, for a reason that passes: another attempt may read it."""

    exit_code = 144


class PermissionDeniedError(Phi3kError):
    """Something is forbidden to this user (EX_NOPERM)."""

    exit_code = 77


class RecipeError(Phi3kError):
    """The recipe is wrong, or asks for what cannot fit (EX_CONFIG)."""

    exit_code = 78
