"""One worker's view of a study: its running trial in memory, writes in the background, a heartbeat."""
