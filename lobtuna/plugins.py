"""What a plugin's file imports: decorators that register its parts, and the types of their own parameters.

`docs/plugins.md` shows a whole plugin.
"""

from lobmodels.plugins.declarations import Choice, Flag, Float, Int
from lobmodels.plugins.registering import features, loss, metric, network

__all__ = ["network", "loss", "features", "metric", "Int", "Float", "Choice", "Flag"]
