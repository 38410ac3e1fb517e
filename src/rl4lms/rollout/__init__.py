"""Prompts to rollouts: tokenising prompts, sampling completions, and the log-prob pass over them."""
