"""The learning core: order-book sequences, networks, losses, training and the online ensemble."""
