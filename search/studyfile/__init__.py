"""The study file: YAML to a typed spec, every error at once, and the space that a sampler sees."""
