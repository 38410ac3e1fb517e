"""Doors to and from other libraries. Nothing here is imported unless it is asked for."""
