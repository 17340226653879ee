"""Runs of a name over time: in words, on a terminal, and as plain values."""
