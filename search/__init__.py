"""The Optuna side: study files, trials, workers, ranking, export and the commands."""
