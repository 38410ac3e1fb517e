"""The task `commongen`: a sentence with some given concepts."""
