"""What a gate found: on a terminal, in a pull request, and for the systems that run it."""
