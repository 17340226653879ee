"""What became of a sample, as the engine says it and the samples table stores it."""

OK, NON_FINITE, UNCONFIRMED, UNFINISHED = 0, 1, 2, 3
"""Fine; a logit or gradient was not finite; a claimed success did not survive the float32 re-check;
nothing was found, but time or queries ran out before every attack had tried."""
