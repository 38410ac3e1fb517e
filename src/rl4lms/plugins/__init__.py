"""What a name in a recipe stands for: rewards, metrics, tasks and algorithms, from this library or from anybody.

`registry` gives them names, `files` finds them in a Python file, `options` says which options they take, `building`
makes one with its options, and `calling` calls it. Loads no torch.
"""
