"""What became of a sample, as the samples table stores it, and flags that are no doubts."""

OK, NON_FINITE, UNCONFIRMED, UNFINISHED = 0, 1, 2, 3
"""Fine; a logit or gradient was not finite; a claimed success did not survive the float32 re-check;
nothing was found, but time or queries ran out before every attack had tried."""

NOTICES = frozenset({"loaded", "of-target-class"})
"""Names of flags that say what was loaded or left out: nothing speaks against the numbers."""
