"""Gates: did robustness drop, by more than is tolerated."""
