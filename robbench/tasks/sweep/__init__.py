"""`robbench sweep`: a grid of trainings and attacks as tasks, of which each is done once."""
