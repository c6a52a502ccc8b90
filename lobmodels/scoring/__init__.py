"""Scores, compares and verifies submissions as the challenge would, and fits them to its limits."""
