"""Learning: what methods that have a network share: training, checkpoints, residual scores."""
