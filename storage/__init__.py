"""Where studies and checkpoints live: databases behind one door, artifacts behind one protocol."""
