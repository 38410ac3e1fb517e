"""The token-level MDP as a Gymnasium environment: the specification that rollouts are tested against.

State: the prompt and the tokens so far. Action: one token of the vocabulary. Transition: append it. The episode ends at
an EOS token, at a stop string or at the token budget. The reward is the task's score on the token it belongs to, minus
`kl_coef` times the log-ratio of policy to reference where both are given (Ramamurthy et al., 2023, section 3). It steps
one token at a time and is slow; training does not use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from rl4lms.config.data import PromptConfig
from rl4lms.core.padding import pad
from rl4lms.errors import DataError, RewardError
from rl4lms.models.loading import SpecialTokens
from rl4lms.models.policy import Policy
from rl4lms.rewards.call import score as call_reward
from rl4lms.rewards.composite import give_tokenizer
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.rollout.stop import stop_at
from rl4lms.rollout.texts import Decoder
from rl4lms.types import Reward, Sample

Observation = dict[str, NDArray[np.int64]]


class TextGenEnv(gymnasium.Env[Observation, np.int64]):
    """Generation of one completion as an episode.

    Observations are a flat dict of integer arrays of fixed length: `prompt_ids`, `prompt_mask` (P,) and
    `completion_ids`, `completion_mask` (T,), prompts padded on `padding_side` and completions on the right. Actions are
    token ids.

    Args:
        samples: the prompts; `reset` draws one, or takes `options={"index": i}`.
        tokenizer: encodes prompts and decodes completions for the reward.
        tokens: EOS, pad and vocabulary size of the model.
        reward: any reward of the library. A dense reward is paid token by token, and must not depend on later tokens.
        prompt: prompt tokenisation; P is its `max_tokens`.
        max_new_tokens: T, the horizon.
        stop: texts that end the episode with the token that completes one, as `rollout.stop` does.
        min_new_tokens: a stop string ends no shorter completion. Which actions are allowed is the agent's business: an
            EOS always ends the episode.
        padding_side: of prompts, `left` for decoder-only models and `right` for encoder-decoders.
        policy, ref_policy, kl_coef: with all three, the KL term is part of the reward.
        time_limit: how an exhausted budget is reported: `terminated` (the budget is the MDP's horizon) or `truncated`,
            the convention of Stable-Baselines3, which then bootstraps.

    Raises:
        DataError: there are no samples.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"]}

    def __init__(
        self,
        samples: Sequence[Sample],
        tokenizer: PreTrainedTokenizerBase,
        tokens: SpecialTokens,
        reward: Reward,
        *,
        prompt: PromptConfig | None = None,
        max_new_tokens: int = 48,
        stop: Sequence[str] = (),
        min_new_tokens: int = 0,
        padding_side: Literal["left", "right"] = "left",
        policy: Policy | None = None,
        ref_policy: Policy | None = None,
        kl_coef: float = 0.0,
        time_limit: Literal["terminated", "truncated"] = "terminated",
        render_mode: str | None = None,
    ) -> None:
        if not samples:
            raise DataError("TextGenEnv needs at least one sample")
        if (policy is None) != (ref_policy is None):
            raise ValueError("the KL term needs both policy and ref_policy")
        self.samples, self.tokenizer, self.tokens, self.reward = samples, tokenizer, tokens, reward
        self.prompt = prompt or PromptConfig()
        self._decoder = Decoder(tokenizer, tokens, padding_side == "right", self.prompt.keep_special_tokens)
        give_tokenizer([reward], self._decoder)
        self._stops = stop_at(self._decoder, stop) if stop else None
        self.min_new_tokens = min_new_tokens
        self.max_new_tokens, self.padding_side, self.time_limit = max_new_tokens, padding_side, time_limit
        self.policy, self.ref_policy, self.kl_coef = policy, ref_policy, kl_coef
        self.render_mode = render_mode
        self._encode = PromptEncoder(tokenizer, tokens, self.prompt)

        def ids(length: int, high: int) -> gymnasium.spaces.Box:
            return gymnasium.spaces.Box(0, high, (length,), np.int64)

        p, v = self.prompt.max_tokens, tokens.vocab_size
        boxes: dict[str, gymnasium.Space[Any]] = {"prompt_ids": ids(p, v - 1), "prompt_mask": ids(p, 1)}
        boxes |= {"completion_ids": ids(max_new_tokens, v - 1), "completion_mask": ids(max_new_tokens, 1)}
        self.observation_space = gymnasium.spaces.Dict(boxes)  # type: ignore[assignment]
        self.action_space = gymnasium.spaces.Discrete(v)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode on a random sample, or on `options["index"]`."""
        super().reset(seed=seed)
        index = (options or {}).get("index")
        self.sample = self.samples[int(self.np_random.integers(len(self.samples))) if index is None else index]
        (self._prompt_ids,), (self._seen,), (self._conversation,) = self._encode.read([self.sample])
        self._completion: list[int] = []
        self._paid: list[float] = []
        return self._observation(), {"id": self.sample.id}

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Append one token. `info` has the task's `score` of this token and its `kl` apart; at the end, the
        `completion` text.
        """
        token = int(action)
        self._completion.append(token)
        ends = token in self.tokens.eos or self._stopped()
        cut = not ends and len(self._completion) == self.max_new_tokens
        kl = self._kl()
        score = self._score(ended=ends or cut)
        self._paid.append(score)
        info: dict[str, Any] = {"score": score, "kl": kl}
        if ends or cut:
            info["completion"] = self._text()
        terminated = ends or (cut and self.time_limit == "terminated")
        return self._observation(), score - self.kl_coef * kl, terminated, cut and not terminated, info

    def render(self) -> str | None:
        """Return the prompt and the text so far."""
        return f"{self.sample.prompt} ▸ {self._text()}" if self.render_mode == "ansi" else None

    def _stopped(self) -> bool:
        if self._stops is None or len(self._completion) < self.min_new_tokens:
            return False
        return bool(self._stops(torch.tensor([self._completion]))[0])

    def _text(self) -> str:
        return self._decoder([self._completion])[0]

    def _observation(self) -> Observation:
        prompt = _fixed(self._prompt_ids, self.prompt.max_tokens, self.tokens.pad, self.padding_side)
        completion = _fixed(self._completion, self.max_new_tokens, self.tokens.pad, "right")
        return {
            "prompt_ids": prompt[0],
            "prompt_mask": prompt[1],
            "completion_ids": completion[0],
            "completion_mask": completion[1],
        }

    def _score(self, ended: bool) -> float:
        output = call_reward(
            self.reward,
            prompts=[self._seen],
            full_prompts=[self.sample.prompt],
            completions=[self._text()],
            texts=self._decoder.together([self._prompt_ids], [self._completion]),
            prompt_ids=[list(self._prompt_ids)],
            completion_ids=[list(self._completion)],
            references=[self.sample.references],
            columns={name: [value] for name, value in self.sample.meta.items()},
            conversations=[self._conversation] if self._conversation else None,
            full_conversations=[self.sample.messages] if self._conversation else None,
            training=False,  # one episode at a time makes no statistics
        )
        value = output.scores[0]
        if value is None:
            return 0.0
        if not output.dense:
            return float(value) if ended else 0.0  # type: ignore[arg-type]
        dense = [float(v) for v in value]  # type: ignore[union-attr]
        if ended and not np.allclose(dense[:-1], self._paid):
            raise RewardError("this dense reward depends on later tokens, so it cannot be paid step by step")
        return dense[-1]

    @torch.no_grad()
    def _kl(self) -> float:
        if self.policy is None or self.ref_policy is None:
            return 0.0
        prompt = pad([self._prompt_ids], self.tokens.pad, self.padding_side)
        completion = pad([self._completion], self.tokens.pad, "right")
        batch = [tensor.to(self.policy.device) for tensor in (*prompt, *completion)]
        here, there = self.policy(*batch).full_logprobs, self.ref_policy(*batch).full_logprobs
        return float(here[0, -1] - there[0, -1])


def _fixed(
    ids: Sequence[int], length: int, pad_id: int, side: Literal["left", "right"]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    values, mask = np.full(length, pad_id, np.int64), np.zeros(length, np.int64)
    if ids:
        where = slice(length - len(ids), None) if side == "left" else slice(len(ids))
        values[where], mask[where] = ids, 1
    return values, mask
