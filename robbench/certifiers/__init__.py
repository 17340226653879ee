"""Proofs that no perturbation of a budget changes a prediction: one method, one file."""
