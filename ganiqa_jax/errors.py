"""What a user can mend, and the exit status it ends a command with."""


class GanIqaError(Exception):
    """Base of the errors that a user can mend.

    Attributes:
      exit_status: what the command line ends with when it meets this error.
    """

    exit_status = 1


class InputError(GanIqaError, ValueError):
    """A setting, a path or data that the user gave cannot be used."""

    exit_status = 2


class IntegrityError(GanIqaError):
    """Stored data or a checkpoint is damaged, incomplete or of another model."""

    exit_status = 5


class CheckError(GanIqaError):
    """What was to be checked does not hold."""

    exit_status = 4


class Interrupted(GanIqaError):
    """The user or the system ended it; what was done so far is kept."""

    exit_status = 130


class NonFiniteError(GanIqaError):
    """Training met losses or gradients that are not finite too often in a row."""

    exit_status = 1
