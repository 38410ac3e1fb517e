"""Language models as policies of Stable-Baselines3: their numbers are the library's, and nothing is lost in a file."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TRPO, MaskablePPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

import rl4lms
from rl4lms.config import RolloutConfig
from rl4lms.config.data import PromptConfig
from rl4lms.errors import ConfigError, ModelError
from rl4lms.integrations.gym import text_gen
from rl4lms.integrations.sb3 import KLPenalty, LMActorCriticPolicy, MaskableLMActorCriticPolicy, TextGenVecEnv
from rl4lms.models.policy import Policy
from rl4lms.rollout.engine import LocalEngine
from rl4lms.rollout.texts import Decoder
from rl4lms.types import Rollout, Sample
from tests.marks import slow_but
from tests.runs import save_tiny
from tests.tiny import CAUSAL

PROMPTS = ["1 2", "3", "4 5 6", "7 8 9 10"]
REWARD = {"name": "increasing_numbers", "min_tokens": 6}
LENGTHS = {"prompt": {"max_tokens": 8}, "max_new_tokens": 6}
LORA = {"r": 4, "target_modules": "all-linear"}


def block(folder: Path, family: str, **options: Any) -> dict[str, Any]:
    """The block `model` of a tiny model, which is made where it is not there yet."""
    path = folder / family
    if not path.exists():
        save_tiny(path, family)
    return {"path": str(path), "architecture": "causal" if family in CAUSAL else "encoder-decoder"} | options


def env_of(model: Any, num_envs: int = 4, **options: Any) -> TextGenVecEnv:
    return TextGenVecEnv(model, PROMPTS, REWARD, num_envs=num_envs, **LENGTHS | options)


def agent(kind: Any, model: Any, env: Any = None, seed: int = 0, **options: Any) -> Any:
    policy = MaskableLMActorCriticPolicy if kind is MaskablePPO else LMActorCriticPolicy
    kwargs = {"model": model} | options.pop("policy_kwargs", {})
    size = {} if kind is A2C else {"batch_size": 12}
    env = env_of(model) if env is None else env
    return kind(policy, env, n_steps=6, seed=seed, device="cpu", policy_kwargs=kwargs, **size | options)


def shaken(policy: Any) -> Any:
    """The policy with every trained number moved, so that no head is zero and no adapter the identity."""
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=noise))
    return policy


def states_of(rollout: Rollout, space: spaces.Dict) -> tuple[dict[str, torch.Tensor], list[tuple[int, int]]]:
    """Every state that a rollout went through, as observations, and the row and the place of its action."""
    places = [(int(row), int(t)) for row, t in rollout.completion_mask.nonzero()]
    found = {name: torch.zeros(len(places), box.shape[0], dtype=torch.int64) for name, box in space.items()}
    for i, (row, t) in enumerate(places):
        prompt = rollout.prompt_ids[row][rollout.prompt_mask[row]]
        found["prompt_ids"][i, : len(prompt)] = prompt  # on the right, wherever the family pads
        found["prompt_mask"][i, : len(prompt)] = 1
        found["completion_ids"][i, :t] = rollout.completion_ids[row, :t]
        found["completion_mask"][i, :t] = 1
    return found, places


@pytest.mark.parametrize(
    ("family", "options"),
    slow_but(
        [
            ("gpt2", {}),
            ("t5-untied", {}),
            ("gpt2", {"value": "shared"}),
            ("llama", {"lora": LORA}),
            ("roberta", {}),
            ("bart", {"value": "shared"}),
            ("t5-untied", {"lora": {"r": 4, "target_modules": ["q", "v"]}}),
            ("bert2bert", {}),
        ],
        [("gpt2", {}), ("t5-untied", {}), ("llama", {"lora": LORA})],
    ),
)
def test_numbers_of_states_are_those_of_the_log_prob_pass(tmp_path: Path, family: str, options: dict[str, Any]) -> None:
    """At a temperature, under a mask: log-prob, entropy and value of every token of a rollout."""
    model = block(tmp_path, family, **options)
    env = env_of(model)
    lr = lambda _: 1e-3  # noqa: E731
    how = {"model": model, "temperature": 0.7}
    door = shaken(MaskableLMActorCriticPolicy(env.observation_space, env.action_space, lr, **how))
    policy: Policy = door.policy
    engine = LocalEngine.create(policy, door.tokenizer, PromptConfig(max_tokens=8), seed=0)
    samples = [Sample(str(i), prompt) for i, prompt in enumerate(PROMPTS * 2)]
    settings = RolloutConfig(max_new_tokens=6, min_new_tokens=3, temperature=0.7)
    rollout = engine.rollout(samples, settings, stream="train", step=0)
    batch = (rollout.prompt_ids, rollout.prompt_mask, rollout.completion_ids, rollout.completion_mask)
    with torch.no_grad():
        expected = policy(*batch, temperature=0.7, token_mask=rollout.token_mask, values=True)
    obs, places = states_of(rollout, env.observation_space)
    actions = torch.tensor([rollout.completion_ids[place] for place in places])
    allowed = np.ones((len(places), 24), dtype=bool)
    allowed[[t < 3 for _, t in places], 1] = False
    with torch.no_grad():
        values, log_probs, entropy = door.evaluate_actions(obs, actions, action_masks=allowed)
    rows = torch.tensor(places).T.tolist()
    for found, wanted in ((log_probs, expected.logprobs), (entropy, expected.entropy), (values[:, 0], expected.values)):
        assert wanted is not None
        assert wanted.std() > 1e-3
        torch.testing.assert_close(found, wanted[tuple(rows)], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
def test_the_first_ratio_is_one_also_while_training(tmp_path: Path, family: str) -> None:
    """These models have dropout; passes of one state and of many agree."""
    model = agent(PPO, block(tmp_path, family))
    assert any(m.p > 0 for m in model.policy.modules() if isinstance(m, torch.nn.Dropout)) or family != "gpt2"
    obs = {name: torch.as_tensor(column) for name, column in model.env.reset().items()}
    for action in (5, 6, 7):
        obs = {name: torch.as_tensor(column) for name, column in model.env.step(np.full(4, action))[0].items()}
    with torch.no_grad():
        actions, values, log_probs = model.policy(obs)
    model.policy.set_training_mode(True)
    again = model.policy.evaluate_actions(obs, actions)
    torch.testing.assert_close(again[0], values)
    torch.testing.assert_close(again[1], log_probs)
    one = {name: column[2:3] for name, column in obs.items()}
    torch.testing.assert_close(model.policy.evaluate_actions(one, actions[2:3])[1], log_probs[2:3], atol=1e-5, rtol=0)


def test_temperature_divides_the_logits(tmp_path: Path) -> None:
    model = block(tmp_path, "gpt2")
    env = env_of(model)
    obs = {name: torch.as_tensor(column) for name, column in env.reset().items()}
    hot, plain = (
        LMActorCriticPolicy(env.observation_space, env.action_space, lambda _: 1e-3, model=model, temperature=t)
        for t in (2.0, 1.0)
    )
    logits = plain.get_distribution(obs).distribution.logits
    torch.testing.assert_close(hot.get_distribution(obs).distribution.logits, (logits / 2).log_softmax(-1))
    seen = env.reset()
    assert (hot.predict(seen, deterministic=True)[0] == plain.predict(seen, deterministic=True)[0]).all()


@pytest.mark.parametrize("time_limit", ["terminated", "truncated"])
def test_many_at_once_are_single_ones_side_by_side(tmp_path: Path, time_limit: str) -> None:
    """Stable-Baselines3's own vector of single environments says the same."""
    model = block(tmp_path, "gpt2")
    together = env_of(model, time_limit=time_limit)
    made = [text_gen(model, PROMPTS, REWARD, **LENGTHS, time_limit=time_limit) for _ in range(4)]
    single = DummyVecEnv([lambda env=env: env for env in made])
    together.seed(3), single.seed(3)
    rng, limits = np.random.default_rng(0), 0
    pairs = [(together.reset(), single.reset())]
    for _ in range(30):
        actions = rng.integers(1, 20, size=4)
        one, other = together.step(actions), single.step(actions)
        pairs.append((one[0], other[0]))
        assert (one[1] == other[1]).all()
        assert (one[2] == other[2]).all()
        assert [sorted(info) for info in one[3]] == [sorted(info) for info in other[3]]
        limits += sum(info["TimeLimit.truncated"] for info in one[3])
        assert [info["score"] for info in one[3]] == [info["score"] for info in other[3]]
    assert all((a[key] == b[key]).all() for a, b in pairs for key in a)
    assert (limits > 0) == (time_limit == "truncated")
    assert np.stack(together.env_method("action_masks")).shape == (4, 24)


@pytest.mark.parametrize(
    ("family", "options"),
    [("gpt2", {}), ("t5-untied", {}), ("gpt2", {"lora": {"r": 4, "target_modules": ["c_attn"]}})],
    ids=["gpt2", "t5", "lora"],
)
def test_the_kl_penalty_is_that_of_the_library(tmp_path: Path, family: str, options: dict[str, Any]) -> None:
    """What the buffer holds is score - kl_coef * kl, with the log-probs of the library's pass over the completions."""
    model = block(tmp_path, family, **options)
    made = agent(PPO, model, policy_kwargs={"temperature": 1.5})
    shaken(made.policy)
    coef, stored = 0.3, {}

    def keep() -> None:
        buffer = made.rollout_buffer
        stored.update(rewards=buffer.rewards.copy(), actions=buffer.actions[..., 0].copy())
        stored.update(starts=buffer.episode_starts.copy(), obs={k: v.copy() for k, v in buffer.observations.items()})

    made.train = keep
    made.learn(24, callback=KLPenalty(coef), log_interval=None)
    policy, reference = (
        made.policy.policy,
        rl4lms.build_models(made.policy.model_config, torch.device("cpu")).ref_policy,
    )
    decoder = Decoder(made.policy.tokenizer, policy.tokens)
    side, scored, checked = policy.family.padding_side, made.env.envs[0].reward, list[torch.Tensor]()
    for env in range(4):
        begins = [*np.flatnonzero(stored["starts"][:, env]).tolist(), 6]
        assert begins[0] == 0
        for begin, end in itertools.pairwise(begins):
            ids = torch.tensor(stored["actions"][begin:end, env])[None]
            width = int(stored["obs"]["prompt_mask"][begin, env].sum())
            where = slice(8 - width, 8) if side == "left" else slice(width)
            prompt = torch.tensor(stored["obs"]["prompt_ids"][begin, env][where])[None]
            batch = (prompt, torch.ones_like(prompt).bool(), ids, torch.ones_like(ids).bool())
            with torch.no_grad():
                kl = (policy(*batch).full_logprobs - reference(*batch).full_logprobs)[0]
            rewards = torch.tensor(stored["rewards"][begin:end, env]) + coef * kl
            whole = end < 6 or int(ids[0, -1]) == 1 or end - begin == 6
            (text,) = decoder(ids.tolist())
            last = scored(completions=[text])[0] if whole else 0.0
            torch.testing.assert_close(rewards[-1], torch.tensor(float(last)), atol=1e-5, rtol=0)
            torch.testing.assert_close(rewards[:-1], torch.zeros(end - begin - 1), atol=1e-5, rtol=0)
            assert kl.abs().max() > 1e-3
            checked.append(kl)
    assert len(torch.cat(checked)) == 24
    assert made.logger.name_to_value["rollout/kl"] == pytest.approx(float(torch.cat(checked).mean()), abs=1e-5)


@pytest.mark.parametrize("kind", [PPO, A2C, TRPO, MaskablePPO], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ("family", "options"),
    slow_but(
        [
            ("gpt2", {}),
            ("t5-untied", {}),
            ("gpt2", {"lora": {"r": 2, "target_modules": ["c_attn"]}}),
            ("t5-untied", {"lora": {"r": 2, "target_modules": ["q", "v"]}, "value": "shared"}),
        ],
        [("gpt2", {}), ("t5-untied", {"lora": {"r": 2, "target_modules": ["q", "v"]}, "value": "shared"})],
    ),
)
def test_a_saved_policy_goes_on_where_it_was(tmp_path: Path, kind: Any, family: str, options: dict[str, Any]) -> None:
    """Weights, adapters, value function and the state of the optimiser; and another update moves both alike."""
    model = block(tmp_path, family, **options)
    few = {"cg_max_steps": 3, "n_critic_updates": 1} if kind is TRPO else {}
    made = agent(kind, model, env_of(model), learning_rate=1e-3, **few)
    before = {name: tensor.clone() for name, tensor in made.policy.state_dict().items()}
    made.learn(48)
    made.save(tmp_path / "agent")
    again = kind.load(tmp_path / "agent", env=env_of(model), device="cpu")
    after, loaded = made.policy.state_dict(), again.policy.state_dict()
    assert after.keys() == loaded.keys()
    assert all(torch.equal(after[name], loaded[name]) for name in after)
    moved = [name for name in after if not torch.equal(after[name], before[name])]
    assert any("value_head" in name for name in moved)
    assert all(".lora_" in name or "value" in name for name in moved) == ("lora" in options)
    assert any("value" not in name for name in moved), moved
    for one in (made, again):
        one.env.seed(5)
        one.set_random_seed(7)
        one._last_obs = None
        one.learn(24, reset_num_timesteps=False)
    assert made.num_timesteps == again.num_timesteps == 72
    assert all(torch.equal(a, b) for a, b in zip(made.policy.parameters(), again.policy.parameters(), strict=True))
    assert not all(torch.equal(after_, now) for after_, now in zip(loaded.values(), before.values(), strict=True))


@pytest.mark.parametrize(
    ("family", "options"),
    [("gpt2", {}), ("gpt2", {"lora": {"r": 4, "target_modules": ["c_attn"]}}), ("t5-untied", {})],
    ids=["gpt2", "lora", "t5"],
)
def test_the_exported_folder_is_the_trained_model(tmp_path: Path, family: str, options: dict[str, Any]) -> None:
    made = agent(PPO, block(tmp_path, family, **options))
    policy = shaken(made.policy)
    policy.save_pretrained(tmp_path / "deep" / "out")
    loader = AutoModelForCausalLM if family == "gpt2" else AutoModelForSeq2SeqLM
    lm = loader.from_pretrained(tmp_path / "deep" / "out").eval()
    prompt, completion = torch.tensor([[5, 6, 7]]), torch.tensor([[8, 9]])
    wanted = policy.policy.next_token(prompt, prompt > 0, completion, completion > 0)[0]
    ids = {"input_ids": torch.cat([prompt, completion], 1)}
    if family != "gpt2":
        ids = {"input_ids": prompt, "decoder_input_ids": torch.tensor([[0, 8, 9]])}
    torch.testing.assert_close(lm(**ids).logits[:, -1], wanted, atol=1e-4, rtol=1e-4)
    policy.save(tmp_path / "policy.pth")  # Stable-Baselines3's own file of a policy alone
    alone = LMActorCriticPolicy.load(tmp_path / "policy.pth", device="cpu")
    assert all(
        torch.equal(a, b) for a, b in zip(policy.state_dict().values(), alone.state_dict().values(), strict=True)
    )
    if not options:
        with pytest.raises(ModelError, match="no adapter"):
            policy.save_adapter(tmp_path / "adapter")
        return
    peft = pytest.importorskip("peft")
    policy.save_adapter(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / family)
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(adapted(**ids).logits[:, -1], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("value", ["separate", "shared"])
def test_trpo_tells_the_parameters_apart_by_name(tmp_path: Path, value: str) -> None:
    """BERT calls a part of its attention `value`: it is the policy's, and moves; what the critic's updates move is the
    value function.
    """
    model = block(tmp_path, "bert", value=value)
    made = agent(TRPO, model, cg_max_steps=2, n_critic_updates=1, target_kl=0.05)
    lm, before = made.policy.policy.lm, {}
    for name, parameter in lm.named_parameters():
        before[name] = parameter.detach().clone()
    assert any("attention.self.value" in name for name in before)
    names = dict(made.policy.named_parameters())
    for name, parameter in names.items():
        ours = any(parameter is one for one in lm.parameters())
        assert ("value" in name) != ours, name
    updates: list[float] = []
    for _ in range(4):
        made.learn(24)
        updates.append(made.logger.name_to_value["train/kl_divergence_loss"])
    assert 0 < max(updates) < 0.05
    moved = {name for name, parameter in lm.named_parameters() if not torch.equal(parameter, before[name])}
    assert any("attention.self.value" in name for name in moved)


def test_what_does_not_fit_says_so(tmp_path: Path) -> None:
    model, env = block(tmp_path, "gpt2"), env_of(block(tmp_path, "gpt2"))
    with pytest.raises(ValueError, match="temperature"):
        agent(PPO, model, env, policy_kwargs={"temperature": 0.0})
    with pytest.raises(ModelError, match="observations of TextGenEnv"):
        PPO(LMActorCriticPolicy, gymnasium.make("CartPole-v1"), device="cpu", policy_kwargs={"model": model})
    other = save_tiny(tmp_path / "llama", "llama")
    wide = rl4lms.build_models(rl4lms.ModelConfig(path=str(other)), torch.device("cpu")).policy.lm
    wide.resize_token_embeddings(30)
    wide.save_pretrained(tmp_path / "llama")
    with pytest.raises(ModelError, match="30 tokens and the environment 24 actions"):
        agent(PPO, str(other), env)
    with pytest.raises(ModelError, match="save_pretrained"):
        agent(PPO, wide, env)
    with pytest.raises(ConfigError, match="positions"):
        TextGenVecEnv(model, PROMPTS, REWARD, prompt={"max_tokens": 79}, max_new_tokens=6)
    with pytest.raises(ModelError, match="gradient_checkpointing"):
        agent(TRPO, model | {"gradient_checkpointing": True}, env).learn(24)
    plain = PPO("MultiInputPolicy", env, n_steps=6, batch_size=12, device="cpu")
    with pytest.raises(ModelError, match="KLPenalty needs"):
        plain.learn(6, callback=KLPenalty(0.1))


@pytest.mark.parametrize("package", ["stable_baselines3", "sb3_contrib"])
def test_without_the_packages_it_says_what_to_install(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None\nimport rl4lms.integrations.sb3"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert f'{package} is not installed; run: pip install "rl4lms[sb3]"' in done.stderr
