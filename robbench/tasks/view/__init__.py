"""A page to look at samples across runs."""
