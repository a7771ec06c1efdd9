"""The errors a user can meet, each with the exit code of the command line (docs: exit codes).

A message is one line that names the file, the node or key, and the way out. Only
`leo_cli.cli.main` turns an error into an exit.
"""


class LeoError(Exception):
    """Base of every error that leo raises on purpose."""

    exit_code = 3


class InputError(LeoError):
    """The caller's files or options cannot be used as they are."""

    exit_code = 2


class ModelError(InputError):
    """The ONNX file is unreadable, invalid, or uses what leo does not support."""


class DomainError(InputError):
    """The bounds file is unreadable, does not fit the model, or describes an empty domain."""


class AnswerNo(LeoError):  # noqa: N818 - an answer, not a mistake
    """The question was understood and the answer is no."""

    exit_code = 1


class VerificationFailed(AnswerNo):
    """Two models differ by more than can be explained; nothing is written."""


class InternalFault(LeoError):  # noqa: N818
    """leo cannot trust its own state; nothing that it found may be used."""

    exit_code = 3


class Contradiction(InternalFault):
    """Two pieces of evidence exclude each other, for example a bound and a witness."""


class SolverError(InternalFault):
    """A MILP solver cannot be started or gives no usable answer."""
