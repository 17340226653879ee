"""Measures of finished runs: margins, ranks, gradients, calibration at clean and worst points."""
