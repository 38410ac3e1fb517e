"""The command line: one file per verb. What is heavy is imported inside the verb, so that `--help` is quick."""
