"""One prompt, many times."""
