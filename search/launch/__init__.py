"""Files that let machines one does not own join a study: Kaggle notebooks, spot GPUs, a few containers.

Each launcher includes the wheel of the lobtuna that wrote it, with its SHA-256; lobtuna is never installed by name from
a package index, where anybody could publish a package of that name. No file holds the database's password: it comes
from where each system keeps its secrets.
"""
