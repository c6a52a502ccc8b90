"""Recurrent networks built from a configuration, each with a whole-sequence and an exact one-step form."""

from lobmodels.config import RunConfig
from lobmodels.networks.attention import AttentionNetwork
from lobmodels.networks.recurrent import Network, RecurrentNetwork, State

__all__ = ["AttentionNetwork", "Network", "RecurrentNetwork", "State", "build_network"]


def build_network(config: RunConfig, input_size: int) -> Network:
    """The network of `config` for `input_size` input columns, freshly initialised from torch's global generator."""
    if config.architecture == "gru_attention":
        return AttentionNetwork(config, input_size)
    return RecurrentNetwork(config, input_size)
