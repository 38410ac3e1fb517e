"""Training: the loop, checkpoints, tracking, warm start, reward models, and the assets that tasks declare."""
