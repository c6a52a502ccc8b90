"""optuna-dashboard behind a guard: what it may show and who may ask."""
