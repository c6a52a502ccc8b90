"""The Optuna side: study files, trials, workers, ranking, export and the commands."""

DEFAULT_STORAGE = "sqlite:///lobtuna.db"  # of the commands and of `import lobtuna` alike
