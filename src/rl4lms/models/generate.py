"""The sampler: batched, KV-cached, the same for every family.

The distribution a token is drawn from is exactly the behaviour policy of the log-prob pass: EOS ban below the minimum
length, the mask, temperature, top-k, top-p, in this order, renormalised over what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import GenerationConfig, PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from rl4lms.config.generation import EvalGenerationConfig, SamplingConfig
from rl4lms.core import token_masks
from rl4lms.core.logprobs import Distributions, TokenLogprobs, chunks, joined
from rl4lms.core.sampling import draw
from rl4lms.models.family_check import Family
from rl4lms.models.groups import Grouped, groups_of
from rl4lms.models.loading import SpecialTokens
from rl4lms.types import Pass

# Finished rows leave the batch once they are this share of it; leaving costs a copy of the cache.
_COMPACT_AT = 0.2


#: From completions so far (B, t) to bool (B,): whether the last token is the end.
Stop = Callable[[Tensor], Tensor]


class Sampled(Protocol):
    """What the sampler needs of a policy: its model, how its family is run, and the context (precision, adapter) to run
    it in.
    """

    lm: PreTrainedModel
    family: Family
    tokens: SpecialTokens

    def trunk_values(self, hidden: Tensor) -> Tensor | None:
        """Return the values (B,) of the policy's hidden states (B, d); None where values are another model's."""
        ...

    def running(self) -> AbstractContextManager[None]:
        """Activate the policy's precision and adapter."""
        ...


@dataclass(slots=True)
class MaskRule:
    """What cuts the action space beside the settings, such as NLPO's mask: the top-p set of a masking policy
    (Ramamurthy et al., 2023, section 4).

    Attributes:
        policy: the masking policy, run beside the sampled one with a cache of its own; None: the sampled one itself.
        keep: from its logits (B, V) and `allowed=`, what may be drawn so far (bool (B, V), None for all), to what may
            be drawn, not empty in any row.
    """

    policy: Sampled | None
    keep: Callable[..., Tensor]


@dataclass(slots=True)
class Generation:
    """Completions of a batch, one row per key.

    Attributes:
        completion_ids, completion_mask: (B, T), padded on the right; T is the longest completion.
        terminated: (B,) bool, ended by an EOS or a stop string.
        sampled: what a log-prob pass would say of the tokens, each (B, T); values only of a policy that shares its
            trunk with them. All zeros of beams.
        token_mask: (B, T, ceil(V/8)) packed support, None where it was always the whole vocabulary.
    """

    completion_ids: Tensor
    completion_mask: Tensor
    terminated: Tensor
    sampled: Pass
    token_mask: Tensor | None


def support(
    logits: Tensor,
    mask_logits: Tensor,
    position: int,
    settings: SamplingConfig,
    rule: MaskRule | None,
    is_eos: Tensor,
) -> Tensor | None:
    """Return the tokens the behaviour policy may draw, (B, V) bool, or None for all; never empty in any row.

    Args:
        logits: (B, V) of the policy.
        mask_logits: (B, V) of the masking policy, or the policy's own; read where there is a rule.
        position: of the token in its completion; below the minimum length EOS is banned.
        settings: minimum length, temperature, top-k, top-p.
        rule: the mask or None. EOS is always in it.
        is_eos: (V,) bool.
    """
    too_short = position < settings.min_new_tokens
    allowed = (~is_eos).expand(logits.shape) if too_short else None
    if rule is not None:
        allowed = rule.keep(mask_logits, allowed=allowed)
        if not too_short:
            allowed |= is_eos
    # the most probable token, which temperature 0 takes, is in any top-k and top-p
    if settings.temperature > 0 and (settings.top_k > 0 or settings.top_p < 1):
        tempered = logits / settings.temperature
        if settings.top_k > 0:
            allowed = token_masks.top_k_mask(tempered, settings.top_k, allowed)
        if settings.top_p < 1:
            allowed = token_masks.top_p_mask(tempered, settings.top_p, 1, allowed)
    return allowed


class _Decoder:
    """One model decoding in step: its cache, its adapter, its logits."""

    state: Any

    def __init__(self, policy: Sampled, prompt_ids: Tensor, prompt_mask: Tensor, budget: int, repeats: int) -> None:
        self.policy = policy
        with policy.running():
            self.state, self.hidden = policy.family.prefill(prompt_ids, prompt_mask, budget)
            self.logits = policy.family.head(self.hidden)
        if repeats > 1:
            self.state.repeat(repeats)
            self.logits, self.hidden = (x.repeat_interleave(repeats, 0) for x in (self.logits, self.hidden))

    def select(self, rows: Tensor) -> None:
        self.state.select(rows)

    def step(self, token_ids: Tensor) -> None:
        with self.policy.running():
            self.hidden = self.policy.family.step(self.state, token_ids)
            self.logits = self.policy.family.head(self.hidden)

    def describe(self, token_ids: Tensor, temperature: float, penalty: Tensor | None) -> Pass:
        """Return what a log-prob pass would say of the next tokens (B,), each column (B,)."""

        def part(piece: slice) -> TokenLogprobs:
            outside = None if penalty is None else penalty[piece]
            return Distributions(self.logits[piece], token_ids[piece], temperature, outside, True, True).tokens()

        tokens = joined([part(piece) for piece in chunks(len(token_ids), self.logits.shape[-1])])
        return Pass(*tokens, values=self.policy.trunk_values(self.hidden))


class _OnCompletions(StoppingCriteria):
    """A criterion that reads completions alone, where HF `generate` shows it prompts, too."""

    def __init__(self, criterion: Stop, start: int) -> None:
        self._criterion, self._start = criterion, start

    def __call__(self, input_ids: Tensor, scores: Any, **options: Any) -> Tensor:
        return self._criterion(input_ids[:, self._start :])


@torch.no_grad()
def beam_search(
    policy: Sampled,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    settings: EvalGenerationConfig,
    stop: Stop | None = None,
) -> Generation:
    """Decode by beam search through HF `generate`, which has it; evaluation only, since beams have no log-probs to
    train on.

    Args:
        policy: the policy to decode.
        prompt_ids, prompt_mask: (B, P), padded on the family's side.
        settings: `num_beams`, `length_penalty` and the lengths are used.
        stop: see `generate`.

    Returns:
        A `Generation` of B rows whose log-probs are zero.
    """
    if not isinstance(policy.family, Grouped):
        return _beams(policy, prompt_ids, prompt_mask, settings, stop)
    groups = [(rows, prompt_ids[rows][real].view(len(rows), -1)) for rows, real in groups_of(prompt_mask)]
    parts = [_beams(policy, ids, torch.ones_like(ids, dtype=torch.bool), settings, stop) for _, ids in groups]
    order, width = (
        torch.cat([rows for rows, _ in groups]).argsort(),
        max(part.completion_ids.shape[1] for part in parts),
    )

    def joined(name: str, fill: int = 0) -> Tensor:
        columns = [getattr(part, name) for part in parts]
        return torch.cat([pad(c, (0, width - c.shape[1]), value=fill) for c in columns])[order]

    terminated = torch.cat([part.terminated for part in parts])[order]
    ids = joined("completion_ids", policy.tokens.pad)
    return Generation(ids, joined("completion_mask"), terminated, Pass(torch.zeros(ids.shape, device=ids.device)), None)


def _beams(
    policy: Sampled, prompt_ids: Tensor, prompt_mask: Tensor, settings: EvalGenerationConfig, stop: Stop | None
) -> Generation:
    prefix = policy.tokens.decoder_prefix
    start = len(prefix) if prefix else prompt_ids.shape[1]
    criteria = StoppingCriteriaList() if stop is None else StoppingCriteriaList([_OnCompletions(stop, start)])
    # A config of our own: the model's may hold penalties and lengths that the settings do not name.
    config = GenerationConfig(
        num_beams=settings.num_beams,
        length_penalty=settings.length_penalty,
        max_new_tokens=settings.max_new_tokens,
        min_new_tokens=settings.min_new_tokens,
        eos_token_id=list(policy.tokens.eos) or None,
        pad_token_id=policy.tokens.pad,
        decoder_start_token_id=prefix[0] if prefix else None,
    )
    inputs = {"input_ids": prompt_ids, "attention_mask": prompt_mask.long()}
    if prefix:
        inputs["decoder_input_ids"] = torch.tensor([prefix], device=prompt_ids.device).expand(len(prompt_ids), -1)
    own = policy.lm.generation_config
    policy.lm.generation_config = GenerationConfig()  # it would fill what a config leaves unset
    try:
        with policy.running():
            out = policy.lm.generate(**inputs, generation_config=config, stopping_criteria=criteria)
    finally:
        policy.lm.generation_config = own
    ids = out[:, start:]
    is_last = torch.isin(ids, torch.tensor(policy.tokens.eos, dtype=torch.int64, device=ids.device))
    if stop is not None:
        is_last |= torch.stack([stop(ids[:, : t + 1]) for t in range(ids.shape[1])], 1)
    # Without an end before it: the first belongs to the text, what follows is padding.
    mask = is_last.cumsum(-1) == is_last.long()
    nothing = Pass(torch.zeros(ids.shape, device=ids.device))
    return Generation(ids, mask, (is_last & mask).any(-1), nothing, None)


def generate(
    policy: Sampled,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    keys: Tensor,
    *,
    settings: SamplingConfig,
    completions_per_prompt: int = 1,
    mask_rule: MaskRule | None = None,
    stop: Stop | None = None,
) -> Generation:
    """Sample completions of every prompt, whose own pass (or that of the encoder) is computed once.

    Args:
        policy: the policy to sample.
        prompt_ids, prompt_mask: (N, P), padded on the family's side.
        keys: (N * completions_per_prompt,) int64, one per completion, consecutive for one prompt.
        settings: the sampling distribution; temperature 0 takes the most probable token of what is allowed.
        completions_per_prompt: how many completions each prompt gets.
        mask_rule: the mask, or None.
        stop: says of completions so far which of them end with their last token, beside those that end with an EOS.

    Returns:
        A `Generation` of len(keys) rows.
    """
    batch, budget, vocab_size, device = len(keys), settings.max_new_tokens, policy.tokens.vocab_size, prompt_ids.device
    is_eos = torch.zeros(vocab_size, dtype=torch.bool, device=device)
    is_eos[torch.tensor(policy.tokens.eos, dtype=torch.int64, device=device)] = True

    ids = torch.full((batch, budget), policy.tokens.pad, dtype=torch.int64, device=device)
    mask = torch.zeros(batch, budget, dtype=torch.bool, device=device)
    sampled: dict[str, Tensor] = {}
    terminated = torch.zeros(batch, dtype=torch.bool, device=device)
    packed = every_token = torch.zeros(0, dtype=torch.uint8, device=device)
    restricted = settings.min_new_tokens > 0 or settings.top_k > 0 or settings.top_p < 1 or mask_rule is not None
    if restricted:
        every_token = token_masks.pack(torch.ones_like(is_eos))
        packed = torch.zeros(batch, budget, len(every_token), dtype=torch.uint8, device=device)

    decoders = [_Decoder(policy, prompt_ids, prompt_mask, budget, completions_per_prompt)]
    if mask_rule is not None and mask_rule.policy is not None:
        decoders.append(_Decoder(mask_rule.policy, prompt_ids, prompt_mask, budget, completions_per_prompt))
    rows = torch.arange(batch, device=device)  # rows still in the batch
    alive = torch.ones(batch, dtype=torch.bool, device=device)  # of those, not finished
    for t in range(budget):
        masked = decoders[0].logits.float()
        allowed = support(masked, decoders[-1].logits, t, settings, mask_rule, is_eos)
        bits = None if allowed is None else token_masks.pack(allowed)
        penalty = None if bits is None else token_masks.penalty(bits, vocab_size)
        masked = masked if penalty is None else masked + penalty
        if settings.temperature == 0:
            token = masked.argmax(-1)
        else:
            token = draw(masked / settings.temperature if settings.temperature != 1 else masked, keys[rows], t)
        written = rows[alive]
        ids[written, t], mask[written, t] = token[alive], True
        for name, column in decoders[0].describe(token, settings.temperature or 1.0, penalty)._asdict().items():
            if column is not None:
                sampled.setdefault(name, torch.zeros(batch, budget, device=device))[written, t] = column[alive]
        if restricted:
            packed[written, t] = every_token if bits is None else bits[alive]
        length = t + 1
        ended = alive & is_eos[token]
        if stop is not None and length >= settings.min_new_tokens:
            ended |= alive & stop(ids[rows, :length])
        terminated[rows[ended]] = True
        alive &= ~ended
        left = int(alive.sum())
        if left == 0 or length == budget:
            break
        if left <= (1 - _COMPACT_AT) * len(rows):
            keep = alive.nonzero()[:, 0]
            for decoder in decoders:
                decoder.select(keep)
            rows, token, alive = rows[keep], token[keep], alive[keep]
        for decoder in decoders:
            decoder.step(token)
    described = Pass(**{name: column[:, :length] for name, column in sampled.items()})
    packed_mask = packed[:, :length] if restricted else None
    return Generation(ids[:, :length], mask[:, :length], terminated, described, packed_mask)
