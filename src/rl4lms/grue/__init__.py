"""GRUE: a grid of systems on tasks, a store of their results, and tables of them."""
