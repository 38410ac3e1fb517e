"""Doors to and from other libraries."""
