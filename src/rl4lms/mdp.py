"""The token-level MDP as a Gymnasium environment: the specification that rollouts are tested against.

State: the prompt and the tokens so far. Action: one token of the vocabulary. Transition: append it. The episode ends at
an EOS token, at a stop string or at the token budget. The reward is the task's score on the token it belongs to, minus
`kl_coef` times the log-ratio of policy to reference where both are given (Ramamurthy et al., 2023, section 3). It steps
one token at a time and is slow; the library's own training does not use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
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
Step = tuple[Observation, float, bool, bool, dict[str, Any]]


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
            One that gives a number per completion is asked after the first step that it scores, which shows its kind,
            and then at the end of episodes alone. What it gives no score (None) is paid 0.
        prompt: prompt tokenisation; P is its `max_tokens`.
        max_new_tokens: T, the horizon.
        stop: texts that end the episode with the token that completes one, as `rollout.stop` does.
        min_new_tokens: a stop string ends no shorter completion, and `action_masks` has no EOS before. Whether to heed
            it is the agent's business: an EOS always ends the episode.
        padding_side: of prompts, `left` for decoder-only models and `right` for encoder-decoders.
        policy, ref_policy, kl_coef: with all three, the KL term is part of the reward; `policy` may be trained outside.
        time_limit: how an exhausted budget is reported: `terminated` (the budget is the MDP's horizon) or `truncated`,
            the convention of Stable-Baselines3, which then bootstraps.

    Raises:
        DataError: there are no samples.
        ValueError: a KL term without both policies, or lengths that no completion has.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}

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
        if (policy is None) != (ref_policy is None) or (kl_coef and policy is None):
            raise ValueError("the KL term needs both policy and ref_policy")
        if not 0 <= min_new_tokens <= max_new_tokens or max_new_tokens < 1:
            raise ValueError(f"no completion has {min_new_tokens} (min_new_tokens) to {max_new_tokens} tokens")
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
        self._over = True
        self._dense: bool | None = None  # whether the reward gives a number per token: it shows

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
        self._over = False
        return self._observation(), {"id": self.sample.id}

    def step(self, action: np.int64 | int) -> Step:
        """Append one token. `info` has the task's `score` of this token and its `kl` apart; at the end, the
        `completion` text.

        Raises:
            ResetNeeded: the episode has ended, or none has begun.
            ValueError: the action is no token.
            RewardError: the reward cannot be paid token by token, or is none.
        """
        return step_all([self], [action])[0]

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which tokens the sampler of the library could draw now, (V,): all, but for EOS before
        `min_new_tokens`. The name is the convention of sb3_contrib's MaskablePPO.
        """
        allowed = np.ones(self.tokens.vocab_size, dtype=np.bool_)
        if len(self._completion) < self.min_new_tokens:
            allowed[list(self.tokens.eos)] = False
        return allowed

    def render(self) -> str | None:
        """Return the prompt and the text so far."""
        return f"{self.sample.prompt} ▸ {self._text()}" if self.render_mode == "ansi" else None

    def _refuse(self, action: np.int64 | int) -> None:
        if self._over:
            raise ResetNeeded("this episode is over, or none has begun: call reset")
        if not 0 <= int(action) < self.tokens.vocab_size:
            raise ValueError(f"action {action} is no token: there are {self.tokens.vocab_size}")

    def _append(self, action: np.int64 | int) -> None:
        self._completion.append(int(action))
        self._terminated = int(action) in self.tokens.eos or self._stopped()
        self._over = self._terminated or len(self._completion) == self.max_new_tokens

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

    def _payment(self, value: Any, dense: bool) -> float:
        """Return what is paid for the last token, from what the reward says of the completion so far."""
        if value is None:
            return 0.0
        if self._dense not in (None, dense):
            raise RewardError("the reward gives a number per completion at times, and one per token at others")
        self._dense = dense
        if not dense:
            return float(value) if self._over else 0.0
        row = [float(v) for v in value]
        if self._over and not np.allclose(row[:-1], self._paid):
            raise RewardError("this dense reward depends on later tokens, so it cannot be paid step by step")
        return row[-1]

    def _result(self, score: float, kl: float) -> Step:
        self._paid.append(score)
        info: dict[str, Any] = {"score": score, "kl": kl}
        if self._over:
            info["completion"] = self._text()
        terminated = self._terminated or (self._over and self.time_limit == "terminated")
        return self._observation(), score - self.kl_coef * kl, terminated, self._over and not terminated, info


def step_all(envs: Sequence[TextGenEnv], actions: Sequence[np.int64 | int]) -> list[Step]:
    """Step several environments of one reward and one pair of policies: what `TextGenEnv.step` does, with one call of
    the reward and one pass of each policy for all.
    """
    for env, action in zip(envs, actions, strict=True):
        env._refuse(action)
    for env, action in zip(envs, actions, strict=True):
        env._append(action)
    return [env._result(score, kl) for env, score, kl in zip(envs, _scores(envs), _kl(envs), strict=True)]


def _scores(envs: Sequence[TextGenEnv]) -> list[float]:
    """Return what the task pays for the last token of each."""
    asked = [i for i, env in enumerate(envs) if env._over or env._dense is not False]
    paid = [0.0] * len(envs)
    if not asked:
        return paid
    some = [envs[i] for i in asked]
    prompts, completions = [env._prompt_ids for env in some], [env._completion for env in some]
    chats: dict[str, Any] = {}
    if any(env._conversation for env in some):
        chats = {"conversations": [env._conversation for env in some]}
        chats |= {"full_conversations": [env.sample.messages for env in some]}
    names = dict.fromkeys(name for env in some for name in env.sample.meta)
    output = call_reward(
        some[0].reward,
        prompts=[env._seen for env in some],
        full_prompts=[env.sample.prompt for env in some],
        completions=some[0]._decoder(completions),
        texts=some[0]._decoder.together(prompts, completions),
        prompt_ids=[list(row) for row in prompts],
        completion_ids=[list(row) for row in completions],
        references=[env.sample.references for env in some],
        columns={name: [env.sample.meta.get(name) for env in some] for name in names},
        training=False,  # one episode at a time makes no statistics
        **chats,
    )
    for i, env, value in zip(asked, some, output.scores, strict=True):
        paid[i] = env._payment(value, output.dense)
    return paid


@torch.no_grad()
def _kl(envs: Sequence[TextGenEnv]) -> list[float]:
    """Return the log-ratio of policy to reference, full softmax at temperature 1, of the last token of each."""
    policy, ref_policy, pad_id = envs[0].policy, envs[0].ref_policy, envs[0].tokens.pad
    if policy is None or ref_policy is None:
        return [0.0] * len(envs)
    prompts = pad([env._prompt_ids for env in envs], pad_id, envs[0].padding_side)
    completions = pad([env._completion for env in envs], pad_id, "right")
    batch = [tensor.to(policy.device) for tensor in (*prompts, *completions)]
    here, there = (one(*batch, entropy=False).full_logprobs for one in (policy, ref_policy))
    last = batch[-1].sum(-1, keepdim=True) - 1
    return (here - there).gather(1, last)[:, 0].tolist()


def _fixed(
    ids: Sequence[int], length: int, pad_id: int, side: Literal["left", "right"]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    values, mask = np.full(length, pad_id, np.int64), np.zeros(length, np.int64)
    if ids:
        where = slice(length - len(ids), None) if side == "left" else slice(len(ids))
        values[where], mask[where] = ids, 1
    return values, mask
