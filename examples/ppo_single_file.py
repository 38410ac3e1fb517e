"""PPO for a causal language model in one file, with torch and transformers alone: read it from top to bottom.

It takes the steps of `rl4lms.training.loop` and yields its numbers, as `tests/docs/test_examples.py` checks, for the
recipe `algorithm: ppo` with `model: {path: ..., value: shared}`, the `Settings` below, and defaults otherwise. Left out
is what the library has beyond that: top-k, top-p and masks, the entropy bonus, value clipping, the early stop, rows
without a score, schedules, several processes, checkpoints, evaluation, checks, passes that never hold all logits.

To see a toy reward go up, with any small causal model in a folder and a file of one prompt per line:

    python examples/ppo_single_file.py path/to/model prompts.txt --word the --learning-rate 5e-4 --kl-coef 0.01

Shapes: B completions, P prompt tokens, T completion tokens, V vocabulary.
"""

import argparse
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

Reward = Callable[[list[str], list[str]], list[float]]


@dataclass
class Settings:
    """Name the settings as a recipe does, with the same defaults."""

    seed: int = 0
    iterations: int = 50
    prompts_per_iteration: int = 64
    max_prompt_tokens: int = 256
    max_new_tokens: int = 48
    temperature: float = 1.0
    kl_coef: float = 0.1
    kl_target: float | None = None  # nats per token; None keeps kl_coef as it is
    gamma: float = 1.0
    gae_lambda: float = 0.95
    n_epochs: int = 4
    minibatch_size: int = 16
    clip_range: float = 0.2
    vf_coef: float = 0.5
    learning_rate: float = 1e-5
    max_grad_norm: float = 0.5


# Random numbers: functions of counters, so that a text depends neither on the batch it is drawn in nor on a restart.
TRAIN, DATA, UPDATE = 0, 2, 3  # the streams of random numbers
U64 = (1 << 64) - 1


def derive_key(*counters: int) -> int:
    """Hash integers to 63 bits (SplitMix64)."""
    key = 0
    for counter in counters:
        x = ((key ^ counter) + 0x9E3779B97F4A7C15) & U64
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & U64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & U64
        key = x ^ (x >> 31)
    return key >> 1


def permutation(n: int, *counters: int) -> Tensor:
    """Shuffle range(n)."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(derive_key(*counters)))


def prompt_indices(size: int, seed: int, step: int, n: int) -> list[int]:
    """Choose the n prompts of an iteration from a list of `size`: shuffled epochs, laid end to end."""
    places = range(step * n, (step + 1) * n)
    epochs = {place // size: permutation(size, seed, DATA, place // size) for place in places}
    return [int(epochs[place // size][place % size]) for place in places]


def hashed(x: Tensor) -> Tensor:
    """Mix the bits of int32 (lowbias32; the masks make the shifts logical)."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * -0x7B935975
    return x ^ ((x >> 16) & 0xFFFF)


def draw(logits: Tensor, keys: Tensor, position: int) -> Tensor:
    """Draw a token (B,) from softmax(logits) of (B, V) by an exponential race: argmax_i of p_i / e_i with e_i ~ Exp(1).

    The e_i are a hash of the row's key, the token's position in its completion, and i.
    """
    low, high = (keys & 0x7FFFFFFF).int(), (keys >> 31).int()
    row = hashed(low + (position + 1) * 0x3C6EF35F % 0x7FFFFFFF) ^ high
    token = hashed(torch.arange(logits.shape[-1], dtype=torch.int32, device=logits.device) * 0x61C88647)
    bits = hashed(row[:, None] ^ token) & 0x7FFFFFFF
    uniform = ((bits.float() + 0.5) * 2.0**-31).clamp(max=1 - 2.0**-24)
    return (logits - logits.amax(-1, keepdim=True) - (-torch.log1p(-uniform)).log()).argmax(-1)


class Batch(NamedTuple):
    """Hold tokens: prompts (B, P), padded on the left, and completions (B, T), padded on the right, EOS included."""

    prompt_ids: Tensor
    prompt_mask: Tensor
    ids: Tensor
    mask: Tensor


class Policy(nn.Module):
    """A language model, and a linear map from its last hidden states to values, which starts at zero."""

    def __init__(self, lm: PreTrainedModel) -> None:
        super().__init__()
        self.lm = lm.eval()  # without dropout
        self.value_head = nn.Linear(lm.config.hidden_size, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits (B, T, V) that completion tokens were drawn from, and the values (B, T) of the states."""
        ids = torch.cat([batch.prompt_ids, batch.ids], dim=1)
        mask = torch.cat([batch.prompt_mask, batch.mask], dim=1).long()
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        out = self.lm(input_ids=ids, attention_mask=mask, position_ids=positions, output_hidden_states=True)
        before = slice(batch.prompt_ids.shape[1] - 1, -1)  # what stands before a token predicts it
        values = self.value_head(out.hidden_states[-1][:, before])[..., 0]
        return out.logits[:, before], values * batch.mask


def token_logprobs(logits: Tensor, batch: Batch, temperature: float) -> Tensor:
    """Return log-probs (B, T) of the completion tokens, zero on padding."""
    logprobs = (logits / temperature).log_softmax(-1)
    return logprobs.gather(-1, batch.ids[..., None])[..., 0] * batch.mask


@torch.no_grad()
def sample(lm: PreTrainedModel, tokenizer: Tokenizer, prompts: list[str], keys: Tensor, s: Settings) -> Batch:
    """Sample one completion per prompt; a row ends with an EOS or after `max_new_tokens`."""
    eos = lm.generation_config.eos_token_id
    eos = tokenizer.eos_token_id if eos is None else eos
    eos_ids, pad = torch.tensor(eos).flatten(), tokenizer.pad_token_id or 0  # any id pads: it is masked
    rows = [row[-s.max_prompt_tokens :] for row in tokenizer(prompts)["input_ids"]]
    width = max(map(len, rows))
    prompt_ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    prompt_mask = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])
    given, mask, cache = prompt_ids, prompt_mask.long(), {}
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    ids, real, alive = [], [], torch.ones(len(rows), dtype=torch.bool)
    for t in range(s.max_new_tokens):
        out = lm(input_ids=given, attention_mask=mask, position_ids=positions, use_cache=True, **cache)
        cache = {name: out[name] for name in out.keys() & {"cache", "past_key_values"}}  # 5.24's name, and that before
        token = draw(out.logits[:, -1] / s.temperature, keys, t)
        ids.append(torch.where(alive, token, pad))
        real.append(alive)
        alive = alive & ~torch.isin(token, eos_ids)
        if not alive.any():
            break
        given, positions = token[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(given)], dim=1)
    return Batch(prompt_ids, prompt_mask, torch.stack(ids, 1), torch.stack(real, 1))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Return generalised advantage estimates (Schulman et al., 2016, equation 16) and returns, zero on padding.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lambda A_{t+1}, with V = A = 0 after the last token.
    In float64, so that advantages which are nothing but rounding can be told from a signal.
    """
    rewards, values = rewards.double(), values.double()
    advantages, following, next_value = torch.zeros_like(rewards), 0.0, 0.0
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following) * mask[:, t]
        next_value = values[:, t]
        advantages[:, t] = following
    return advantages.float(), (advantages + values).float()


def whiten(advantages: Tensor, mask: Tensor, largest: float) -> Tensor:
    """Shift and scale to mean 0 and variance 1 over real tokens; zero where differences are rounding of `largest`."""
    real = advantages[mask].double()
    centred = real - real.mean()
    if centred.abs().max() <= 1e-6 * largest:
        return torch.zeros_like(advantages)
    return torch.zeros_like(advantages).masked_scatter(mask, (centred / real.std()).float())


def minibatches(rows: int, step: int, s: Settings) -> Iterator[Tensor]:
    """Shuffle and cut the rows anew for every epoch; a last minibatch of one row joins the one before."""
    for epoch in range(s.n_epochs):
        pieces = list(permutation(rows, s.seed, UPDATE, step, epoch).split(s.minibatch_size))
        if len(pieces) > 1 and len(pieces[-1]) == 1:
            pieces[-2:] = [torch.cat(pieces[-2:])]
        yield from pieces


class PPO:
    """Train `policy` in place; `reward` maps prompts and completions to one number per completion."""

    def __init__(self, policy: Policy, tokenizer: Tokenizer, reward: Reward, prompts: list[str], s: Settings) -> None:
        self.policy, self.tokenizer, self.reward, self.prompts, self.s = policy, tokenizer, reward, prompts, s
        self.ref_policy = copy.deepcopy(policy).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(policy.parameters(), lr=s.learning_rate, weight_decay=0.0)
        self.kl_coef = s.kl_coef
        self.texts: list[str] = []  # the completions of the last iteration

    def iterate(self, step: int) -> dict[str, float]:
        """Take one iteration, counted from 0; return its numbers under the names that the library logs them by."""
        s, policy = self.s, self.policy
        # 1 prompts
        prompts = [self.prompts[i] for i in prompt_indices(len(self.prompts), s.seed, step, s.prompts_per_iteration)]
        # 2 rollout, and the log-prob pass: of the policy that samples, and of both policies at temperature 1 for the KL
        base = derive_key(s.seed, TRAIN, step)
        keys = torch.tensor([derive_key(base, row) for row in range(len(prompts))])
        batch = sample(policy.lm, self.tokenizer, prompts, keys, s)
        mask = batch.mask
        with torch.no_grad():
            logits, values = policy(batch)
            logprobs = token_logprobs(logits, batch, s.temperature)
            kl = token_logprobs(logits, batch, 1.0) - token_logprobs(self.ref_policy(batch)[0], batch, 1.0)
        # 3 reward: one number per completion, on its last token
        pairs = zip(batch.ids, mask, strict=True)
        self.texts = [self.tokenizer.decode(ids[real], skip_special_tokens=True) for ids, real in pairs]
        scores = torch.zeros_like(kl)
        scores[torch.arange(len(mask)), mask.sum(-1) - 1] = torch.tensor(self.reward(prompts, self.texts))
        # 4 credit: the KL of every token is taken off
        rewards = scores - self.kl_coef * kl
        # 5 advantages; a value function that knows nothing yet starts at the mean reward of last tokens
        if not any(parameter.any() for parameter in policy.value_head.parameters()):
            last = rewards[torch.arange(len(mask)), mask.sum(-1) - 1]
            nn.init.constant_(policy.value_head.bias, float(last.double().mean()))
            values = policy.value_head.bias.detach() * mask
        advantages, returns = gae(rewards, values, mask, s.gamma, s.gae_lambda)
        largest = max(float(x[mask].abs().max()) for x in (rewards, values, returns))
        advantages = whiten(advantages, mask, largest)
        # 6 update
        updates = []
        for rows in minibatches(len(mask), step, s):
            taken = Batch(*(column[rows] for column in batch))
            updates.append(self.update(taken, logprobs[rows], advantages[rows], returns[rows]))
        numbers = {f"train/{name}": sum(u[name] for u in updates) / len(updates) for name in updates[0]}
        numbers |= {"rollout/score": float(scores.sum(-1).mean()), "rollout/reward": float(rewards.sum(-1).mean())}
        numbers |= {"rollout/kl_per_token": float(kl.sum() / mask.sum()), "rollout/kl_coef": self.kl_coef}
        if s.kl_target is not None:  # the adaptive coefficient of Ziegler et al. (2019), section 2.2
            error = max(-0.2, min(0.2, numbers["rollout/kl_per_token"] / s.kl_target - 1))
            self.kl_coef *= 1 + 0.1 * error
        return numbers

    def update(self, batch: Batch, old_logprobs: Tensor, advantages: Tensor, returns: Tensor) -> dict[str, float]:
        """Take one optimiser step on a minibatch, by means over its tokens (Schulman et al., 2017, equation 9)."""
        s, count = self.s, batch.mask.sum()
        logits, values = self.policy(batch)
        log_ratio = token_logprobs(logits, batch, s.temperature) - old_logprobs
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1 - s.clip_range, 1 + s.clip_range)
        policy_loss = -torch.minimum(ratio * advantages, clipped * advantages).sum() / count
        value_loss = (values - returns).square().sum() / count
        loss = policy_loss + s.vf_coef * value_loss
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.policy.parameters(), s.max_grad_norm, error_if_nonfinite=True)
        self.optimizer.step()
        found = {"policy_loss": policy_loss, "value_loss": value_loss, "loss": loss, "grad_norm": norm}
        found["clip_fraction"] = ((ratio - 1).abs() > s.clip_range).sum() / count
        found["approx_kl"] = (torch.expm1(log_ratio) - log_ratio).sum() / count  # of KL(old || new), the k3 estimate
        return {name: x.item() for name, x in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="folder of a small causal language model")
    parser.add_argument("prompts", type=Path, help="text file with one prompt per line")
    parser.add_argument("--word", default="the", help="the reward is the share of this word among all words")
    parser.add_argument("--save", help="folder for the trained model")
    for field in fields(Settings):
        kind = float if field.default is None else type(field.default)
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=kind, default=field.default, help=f"default: {field.default}")
    arguments = vars(parser.parse_args())
    path, file, word, save = (arguments.pop(name) for name in ("model", "prompts", "word", "save"))

    def share_of_word(prompts: list[str], completions: list[str]) -> list[float]:
        return [text.split().count(word) / max(1, len(text.split())) for text in completions]

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    lm = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False)
    prompts = [line for line in file.read_text(encoding="utf-8").splitlines() if line]
    ppo = PPO(Policy(lm), tokenizer, share_of_word, prompts, Settings(**arguments))
    for step in range(ppo.s.iterations):
        numbers = ppo.iterate(step)
        # 7 track
        score, kl = numbers["rollout/score"], numbers["rollout/kl_per_token"]
        print(f"{step + 1:4d}  score {score:.3f}  KL per token {kl:.4f}  {ppo.texts[0][:60]!r}", flush=True)
    if save:  # 8
        lm.save_pretrained(save)
        tokenizer.save_pretrained(save)


if __name__ == "__main__":
    main()
