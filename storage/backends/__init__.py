"""Databases behind one door: one file a kind of storage."""
