"""Rows and files: prompts, references and columns from JSONL, JSON, CSV, Parquet or the Hub."""
