"""Checks before training: what a recipe amounts to, and whether it is sane."""
