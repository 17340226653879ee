"""What the log says is for whoever waits for a command."""

from __future__ import annotations

import logging

import pytest

from robbench.cli.log import log_shown


def test_messages_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Not with --quiet, and no longer when the command has ended."""
    log = logging.getLogger("robbench")
    before = (log.level, log.propagate, list(log.handlers))
    for quiet in (False, True):
        with log_shown(quiet=quiet):
            log.info("reading images: %d of %d", 5, 9)
            log.debug("a detail")
    assert capsys.readouterr() == ("", "reading images: 5 of 9\n")
    assert (log.level, log.propagate, log.handlers) == before
