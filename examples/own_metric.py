"""A metric of one's own, from a recipe by file, in evaluations and as a reward:

evaluation: {metrics: [{name: examples/own_metric.py:rhymes, letters: 2}]}
reward: {name: examples/own_metric.py:rhymes}
"""

from itertools import pairwise


def rhymes(completions, *, letters: int = 2):
    """Measure the share of neighbouring words that end on the same letters."""

    def share(text):
        words = text.lower().split()
        pairs = list(pairwise(words))
        return sum(a[-letters:] == b[-letters:] for a, b in pairs) / len(pairs) if pairs else None

    return {"rhymes": [share(text) for text in completions]}
