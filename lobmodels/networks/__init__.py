"""Networks built from a configuration, each with a whole-sequence and an exact one-step form.

Every file of this folder is imported here, so that the architectures in it are registered.
"""

import importlib
import pkgutil

from lobmodels.networks.network import ARCHITECTURES, HEADS, INPUT_BLOCKS, Network, State, build_network

__all__ = ["build_network", "Network", "State", "ARCHITECTURES", "INPUT_BLOCKS", "HEADS"]

for _module in pkgutil.iter_modules(__path__):
    if _module.name.startswith(("cpu_", "gpu_")):
        continue  # no networks, but kernels, whose compiler is imported when a device first needs them
    importlib.import_module(f"{__name__}.{_module.name}")
