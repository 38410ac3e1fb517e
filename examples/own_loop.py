"""A training loop of one's own, from the library's building blocks; `rl4lms.train` takes the same steps by itself.

    python examples/own_loop.py path/to/model

trains a small model to write the word "the", and prints the score of every iteration.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

import rl4lms

Reward = Callable[..., list[float]]


def train(path: str, prompts: list[str], reward: Reward, iterations: int, learning_rate: float) -> list[float]:
    """Train the model in a folder on a reward; return the mean score of every iteration."""
    models = rl4lms.build_models(rl4lms.ModelConfig(path=path, value="shared"), torch.device("cpu"))
    policy, kl_coef = models.policy, 0.02
    engine = rl4lms.LocalEngine.create(policy, models.tokenizer, rl4lms.PromptConfig(), seed=0)
    algorithm = rl4lms.PPO(n_epochs=2, minibatch_size=16)
    algorithm.bind(rl4lms.Learner(policy, rl4lms.OptimizerConfig(learning_rate=learning_rate)))
    samples = [rl4lms.Sample(id=str(i), prompt=prompt) for i, prompt in enumerate(prompts)]
    found = []
    for step in range(iterations):
        # roll out: texts, log-probs of the policy that wrote them, and those of the model as it was at the beginning
        rollout = engine.rollout(samples, rl4lms.RolloutConfig(max_new_tokens=8), stream="train", step=step)
        current = rl4lms.log_prob_pass(policy, rollout, values=True)
        reference = rl4lms.log_prob_pass(models.ref_policy, rollout)
        # score: one number per completion, placed on its last token; a row whose score is None is left out
        scores, row_mask = rl4lms.place_scores(rl4lms.score_rollout(reward, rollout), rollout.completion_mask)
        e = rl4lms.Experience(rollout, current.logprobs, scores, row_mask, reference.full_logprobs)
        e.kl = (current.full_logprobs - reference.full_logprobs) * rollout.completion_mask
        e.values = current.values
        # learn: rewards are the scores minus the KL term, advantages come from them, and the update from these
        algorithm.credit(e, kl_coef)
        algorithm.advantages(e)
        numbers = algorithm.update(e, step)
        found.append(float(e.sequence_scores.mean()))
        print(f"{step + 1:3d}  score {found[-1]:.3f}  loss {numbers['loss']:.4f}  {rollout.completions[0]!r}")
    return found


def share_of_the(completions: list[str], **columns: object) -> list[float]:
    """Return the share of the word "the" among the words of each text."""
    return [text.split().count("the") / max(1, len(text.split())) for text in completions]


if __name__ == "__main__":
    beginnings = ["Once upon a time", "One day", "There was a", "She said that"]
    train(sys.argv[1], beginnings * 16, share_of_the, iterations=20, learning_rate=5e-4)
