"""`rl4lms/TextGen-v0` of Gymnasium: `TextGenEnv` from the names that recipes have, and many of them stepped together.

`import rl4lms` registers the id (`gym_id.py`); nothing here is imported before an environment is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rl4lms import rewards
from rl4lms.api.given import SPLITS, given_data
from rl4lms.config import recipe_from_dict
from rl4lms.config.data import DataConfig, PromptConfig
from rl4lms.config.model import ModelConfig
from rl4lms.data.files import FileTask, samples_of
from rl4lms.errors import DataError, ModelError
from rl4lms.mdp import Observation, TextGenEnv, step_all
from rl4lms.models.build import Models
from rl4lms.models.loading import check_window, empty_lm, load_tokenizer, special_tokens
from rl4lms.types import Sample

Info = dict[str, Any]
Flags = NDArray[np.bool_]


def text_gen(
    model: str | Path | Mapping[str, Any] | ModelConfig | Models,
    data: Any,
    reward: Any,
    *,
    prompt: PromptConfig | Mapping[str, Any] | None = None,
    **options: Any,
) -> TextGenEnv:
    """Make a `TextGenEnv`: what `gymnasium.make("rl4lms/TextGen-v0", ...)` calls.

    Args:
        model: a Hub id, a folder, or the block `model` of a recipe, of which tokenizer and configuration are read and
            no weights; or what `rl4lms.build_models` returns, whose policy and reference then give the KL term.
        data: a file, a Hub id, a list of prompts, rows or samples, a `datasets.Dataset` or a pandas `DataFrame`.
        reward: a name, a mapping with options, or a function.
        prompt: the block `prompt` of a recipe.
        options: of `TextGenEnv`: `max_new_tokens`, `min_new_tokens`, `stop`, `kl_coef`, `time_limit`, `render_mode`.

    Raises:
        ConfigError: a block or the reward cannot be read, or the lengths do not fit the model.
        DataError: the data cannot be read.
        ModelError: the model cannot be read, or a KL term has no policies.
    """
    return text_gens(1, model, data, reward, prompt=prompt, **options)[0]


def text_gen_vector(
    model: str | Path | Mapping[str, Any] | ModelConfig | Models,
    data: Any,
    reward: Any,
    *,
    num_envs: int = 1,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    prompt: PromptConfig | Mapping[str, Any] | None = None,
    **options: Any,
) -> TextGenVectorEnv:
    """Make a `TextGenVectorEnv`: what `gymnasium.make_vec("rl4lms/TextGen-v0", ...)` calls. Arguments and errors are
    those of `text_gen`.
    """
    return TextGenVectorEnv(text_gens(num_envs, model, data, reward, prompt=prompt, **options), autoreset_mode)


class TextGenVectorEnv(gymnasium.vector.VectorEnv[Observation, NDArray[np.int64], NDArray[Any]]):
    """Episodes side by side, with one call of the reward and one pass of each policy for all of them.

    Args:
        envs: environments that differ in nothing but their episodes.
        autoreset_mode: when an episode that ended gives way to the next, as for `gymnasium.vector.SyncVectorEnv`.
    """

    def __init__(
        self, envs: Sequence[TextGenEnv], autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP
    ) -> None:
        if not envs:
            raise ValueError("num_envs must be 1 or more")
        self.envs, self.num_envs, self.autoreset_mode = list(envs), len(envs), AutoresetMode(autoreset_mode)
        first = envs[0]
        self.metadata = {**first.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = first.render_mode
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(first.observation_space, self.num_envs)
        self.action_space = batch_space(first.action_space, self.num_envs)
        self._observations: list[Observation] = []
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Info | None = None
    ) -> tuple[Observation, Info]:
        """Begin an episode in every environment; a seed s becomes s, s + 1, ...

        `options={"reset_mask": flags}` begins one where the flags (num_envs,) say so, the others go on; what else is in
        `options` goes to each environment.
        """
        given: Any = [None] * self.num_envs if seed is None else seed
        seeds = [int(given) + i for i in range(self.num_envs)] if isinstance(given, Integral) else list(given)
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} environments")
        rest = dict(options or {})
        chosen = np.asarray(rest.pop("reset_mask", np.ones(self.num_envs, dtype=np.bool_)))
        if chosen.dtype != np.bool_ or chosen.shape != (self.num_envs,):
            raise ValueError(f"reset_mask must be one flag for each of {self.num_envs} environments")
        if not self._observations and not chosen.all():
            raise ResetNeeded("the first reset begins all episodes")
        infos: Info = {}
        self._observations = self._observations or [{} for _ in self.envs]
        for i in chosen.nonzero()[0]:
            self._observations[i], info = self.envs[i].reset(seed=seeds[i], options=rest)
            infos = self._add_info(infos, info, int(i))
        self._ended[chosen] = False
        return self._stacked(), infos

    def step(self, actions: NDArray[np.int64]) -> tuple[Observation, NDArray[np.float64], Flags, Flags, Info]:
        """Append one token to every completion (num_envs,); infos are those of `TextGenEnv`, in arrays.

        Raises:
            ResetNeeded: an episode has ended, and there is no autoreset.
            RewardError, ValueError: as `TextGenEnv.step`.
        """
        rewards_paid, infos = np.zeros(self.num_envs), dict[str, Any]()
        terminated, truncated = np.zeros((2, self.num_envs), dtype=np.bool_)
        resets = self._ended if self.autoreset_mode == AutoresetMode.NEXT_STEP else np.zeros_like(self._ended)
        going = (~resets).nonzero()[0]
        steps = step_all([self.envs[i] for i in going], [actions[i] for i in going]) if len(going) else []
        for i in resets.nonzero()[0]:
            self._observations[i], info = self.envs[i].reset()
            infos = self._add_info(infos, info, int(i))
        for i, (observation, paid, terminates, truncates, info) in zip(going, steps, strict=True):
            rewards_paid[i], terminated[i], truncated[i] = paid, terminates, truncates
            if (terminates or truncates) and self.autoreset_mode == AutoresetMode.SAME_STEP:
                infos = self._add_info(infos, {"final_obs": observation, "final_info": info}, int(i))
                observation, info = self.envs[i].reset()
            self._observations[i] = observation
            infos = self._add_info(infos, info, int(i))
        self._ended = terminated | truncated
        return self._stacked(), rewards_paid, terminated, truncated, infos

    def action_masks(self) -> Flags:
        """Return which tokens each environment allows, (num_envs, V); see `TextGenEnv.action_masks`."""
        return np.stack([env.action_masks() for env in self.envs])

    def render(self) -> tuple[Any, ...]:
        """Return the texts so far."""
        return tuple(env.render() for env in self.envs)

    def _stacked(self) -> Observation:
        return {name: np.stack([one[name] for one in self._observations]) for name in self._observations[0]}


def model_config(model: str | Path | Mapping[str, Any] | ModelConfig) -> ModelConfig:
    """Return the block `model` of a recipe from itself, or from a name or folder.

    Raises:
        ConfigError: it cannot be read.
        ModelError: it is something else.
    """
    return _blocks(model)[0]


def _blocks(model: Any, prompt: Any = None) -> tuple[ModelConfig, PromptConfig]:
    if not isinstance(model, str | Path | Mapping | ModelConfig):
        raise ModelError(
            f"model: {type(model).__name__} is no name of a model, and no block `model` of a recipe; an object is "
            "saved first, with its tokenizer: model.save_pretrained(folder), tokenizer.save_pretrained(folder)"
        )
    recipe = recipe_from_dict({"model": model, "data": "<given>", "prompt": prompt or {}})
    return recipe.model, recipe.prompt


def text_gens(
    num_envs: int, model: Any, data: Any, reward: Any, *, prompt: Any = None, **options: Any
) -> list[TextGenEnv]:
    """Make environments that share everything but their episodes. Arguments and errors are those of `text_gen`."""
    if isinstance(model, Models):
        lm, tokenizer, tokens = model.policy.lm, model.tokenizer, model.policy.tokens
        config = _blocks("<given>", prompt)[1]
        policies: Info = {"policy": model.policy, "ref_policy": model.ref_policy}
    else:
        block, config = _blocks(model, prompt)
        if options.get("kl_coef") and options.get("policy") is None:
            raise ModelError(
                "kl_coef: a KL term needs the policy that is trained and its reference, and a name gives neither: "
                "model=rl4lms.build_models(...), or KLPenalty of rl4lms.integrations.sb3"
            )
        lm, tokenizer, policies = empty_lm(block), load_tokenizer(block), {}
        tokens = special_tokens(lm, tokenizer)
    side: Any = "right" if lm.config.is_encoder_decoder else "left"
    settings: Info = {"prompt": config, "padding_side": side, "max_new_tokens": 48} | policies | dict(options)
    check_window(lm, config.max_tokens, settings["max_new_tokens"])
    parts = (_samples(data), tokenizer, tokens, rewards.build(reward))
    return [TextGenEnv(*parts, **settings) for _ in range(num_envs)]


def _samples(data: Any) -> Sequence[Sample]:
    if isinstance(data, Sequence) and len(data) and all(isinstance(row, Sample) for row in data):
        return data
    block, rows = given_data(data)
    others = [name for name in SPLITS[1:] if block.get(name) is not None]
    if others:
        raise DataError(f"data: an environment has one set of prompts; leave out {', '.join(others)}")
    if "train" in rows:
        return samples_of(map(dict, rows["train"]), "data")
    return FileTask(DataConfig.model_validate({"holdout": 0, **block})).samples("train")
