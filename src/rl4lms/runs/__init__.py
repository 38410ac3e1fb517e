"""The run folder: who may use it, what is written into it, and how it survives failures."""
