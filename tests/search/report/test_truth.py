"""Every table of a report is recomputed from the trials it is about, and every interval holds its own estimate."""
