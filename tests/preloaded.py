"""Imported by the process that workers of tests are forked from: it loads the CPU kernels once for all of them."""

from lobmodels.networks.cpu_recurrent import compiled_kernels

compiled_kernels()
