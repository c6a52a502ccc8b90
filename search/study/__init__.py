"""A study in its database: how it is created, read, revised, ranked, repeated and kept small."""
