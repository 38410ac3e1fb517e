"""Supervised training through the HF `Trainer`: warm start, reward models, the small models that tasks need."""
