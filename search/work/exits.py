"""Exit codes of a worker's process: what its supervisor does next depends on them alone."""

DONE = 0
EXPECTED = 1  # an expected failure, told in one line: another process would fail in the same way
CRASHED = 70  # a bug; its traceback is on stderr (sysexits.h: EX_SOFTWARE)
RESTART = 75  # the process cannot go on, a fresh one can: the device context is broken, or a run hangs (EX_TEMPFAIL)
