"""One training run: losses, optimiser, batches, epochs, and the state that lets it go on elsewhere."""
