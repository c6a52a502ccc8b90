"""A worker: takes trials, trains them, reports, stops well and hands back what it could not finish."""
