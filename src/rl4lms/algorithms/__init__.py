"""Algorithms. One file each; they know models, rollouts and maths, and nothing of tasks."""
