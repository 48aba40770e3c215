"""Training jobs: configuration, building, the training loop, checkpoints and reports."""
