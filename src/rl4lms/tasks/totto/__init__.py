"""The task `totto`: a sentence about some cells of a table."""
