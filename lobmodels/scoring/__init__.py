"""Submissions judged as the challenge would: scored, compared, verified, and fitted to its limits."""
