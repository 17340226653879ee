"""Code that is not ours: while it runs it sees no command line and prints no results."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from robbench.core.errors import UserError


@contextlib.contextmanager
def guest_code(doing: str, name: str) -> Iterator[None]:
    """Import or call a user's code.

    `doing` says what, for the error; `name` is what the code sees as its program.

    `sys.argv` is the name alone, prints go to stderr. Raises UserError when the code ends the
    program (`sys.exit`, argparse).
    """
    argv = sys.argv
    sys.argv = [name]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except SystemExit as error:
        raise UserError(
            f"{doing} ended the program (SystemExit {error.code}); "
            'keep what parses the command line or exits under `if __name__ == "__main__":`'
        ) from error
    finally:
        sys.argv = argv
