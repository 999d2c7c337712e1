"""Training: the loop, its losses, and hypergradients through it."""
