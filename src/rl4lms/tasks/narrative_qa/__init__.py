"""The task `narrative_qa`: an answer to a question about a story."""
