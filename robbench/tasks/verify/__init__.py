"""Verify runs: what of their published numbers holds on this machine."""
