"""Evaluations: decoding and measuring a split, scoring files, building rewards and metrics with what they need of a
task.
"""
