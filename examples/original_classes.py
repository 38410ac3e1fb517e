"""Code for the original RL4LMs, which runs here: only the import is another one, and the last line is new."""

from itertools import pairwise

from rl4lms.integrations.legacy import BaseMetric, BatchedRewardFunction, RewardFunction, Sample, TextGenPool, task


class FewTokens(RewardFunction):
    """1 for a completion of at most `most` tokens, when it is done."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __call__(self, current_observation, action, next_observation, done, meta_info=None) -> float:
        if not done:
            return 0.0
        return float(len(next_observation.context_ids) <= self._most)


class Rising(BatchedRewardFunction):
    """Share of neighbouring numbers that go up."""

    def __call__(self, prompt_texts, gen_texts, ref_texts, dones, meta_infos=None) -> list[float]:
        scores = []
        for text in gen_texts:
            numbers = [int(word) for word in text.split() if word.isdigit()]
            rises = [after > before for before, after in pairwise(numbers)]
            scores.append(sum(rises) / len(rises) if rises else 0.0)
        return scores


class Words(BaseMetric):
    """Words of a text."""

    def compute(self, prompt_texts, generated_texts, reference_texts, meta_infos=None, model=None, split_name=None):
        counts = [len(text.split()) for text in generated_texts]
        return {"length/words": (counts, sum(counts) / len(counts))}


class Counting(TextGenPool):
    """Prompts that begin to count."""

    @classmethod
    def prepare(cls, split: str, upto: int = 12):
        """Return the prompts of a split."""
        first = {"train": 0, "val": 1, "test": 2}[split]
        prompts = [f"{number} {number + 1}" for number in range(first, upto, 3)]
        return cls([Sample(f"{split}_{i}", prompt, [f"{i} {i + 1}"]) for i, prompt in enumerate(prompts)])


counting = task(Counting)  # what a recipe names
