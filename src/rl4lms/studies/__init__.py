"""Comparisons that answer a question: several runs, one table, one report."""
