"""What goes wrong on the command line: one sentence on stderr, and an exit code that scripts can use."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import click

from batchery.client import NoServer, ServiceError
from batchery.config import ConfigError

FAILED: Final = 1  #: it could not be done; the sentence says why
USAGE: Final = 2  #: the command line itself is wrong (click's)
NO_SERVER: Final = 3  #: no server answers
NOT_FOUND: Final = 4  #: no such job
EXEC_FAILED: Final = 125  #: `exec`: the private server did not start (as with env, timeout and docker run)
CANNOT_EXECUTE: Final = 126  #: `exec`, `aws`: the command is there and cannot be executed
NO_COMMAND: Final = 127  #: `exec`, `aws`: there is no such command

START_HINT: Final = "Start one with `batchery serve`, or say where it is with --url or BATCHERY_URL."


class Problem(click.ClickException):
    """``message`` is a sentence for the user."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        vars(self)["exit_code"] = exit_code  # click declares it on the class, and reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        print(f"batchery: {self.message}", file=file or sys.stderr)


@contextmanager
def told() -> Iterator[None]:
    """Turn the exceptions of our own client and configuration into Problems."""
    try:
        yield
    except ConfigError as error:
        raise Problem(str(error)) from None
    except NoServer as error:
        raise Problem(f"{error} {START_HINT}", NO_SERVER) from None
    except ServiceError as error:
        raise Problem(f"The server refused ({error.code}, HTTP {error.status}): {error.message}") from None
