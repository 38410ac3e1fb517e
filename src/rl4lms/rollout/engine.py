"""The local generation engine: samples completions of a policy and run the log-prob pass over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from rl4lms import distributed
from rl4lms.config.data import PromptConfig
from rl4lms.config.generation import EvalGenerationConfig, SamplingConfig
from rl4lms.core.padding import group_by_length, pad, stack, trim, unpad
from rl4lms.core.sampling import STREAMS, draw_keys
from rl4lms.errors import ModelError
from rl4lms.models.generate import Generation, MaskRule
from rl4lms.models.policy import Policy
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.rollout.stop import stop_at
from rl4lms.rollout.texts import Decoder
from rl4lms.types import Pass, Rollout, Sample

# Rows of one forward pass without gradients.
_PASS_ROWS = 32


@dataclass(slots=True)
class LocalEngine:
    """Turns prompts into rollouts in this process.

    Attributes:
        policy: the policy that is sampled.
        tokenizer: of the policy.
        encoder: tokenises prompts.
        decoder: makes texts of ids.
        seed: with the stream, step and draw index, determines every token.
    """

    policy: Policy
    tokenizer: PreTrainedTokenizerBase
    encoder: PromptEncoder
    decoder: Decoder
    seed: int

    @classmethod
    def create(cls, policy: Policy, tokenizer: PreTrainedTokenizerBase, prompt: PromptConfig, seed: int) -> LocalEngine:
        """Return an engine with an encoder and a decoder of its own."""
        encoder = PromptEncoder(tokenizer, policy.tokens, prompt)
        two_texts = policy.lm.config.is_encoder_decoder
        decoder = Decoder(tokenizer, policy.tokens, two_texts, prompt.keep_special_tokens)
        return cls(policy, tokenizer, encoder, decoder, seed)

    def rollout(
        self,
        samples: Sequence[Sample],
        settings: SamplingConfig,
        *,
        stream: str,
        step: int,
        completions_per_prompt: int = 1,
        mask_rule: MaskRule | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Rollout:
        """Sample completions. Texts do not depend on `settings.batch_size`, which only bounds how many rows are decoded
        together.

        Every process decodes a share of the prompts, and all of them get the whole rollout.

        Args:
            samples: the prompts.
            settings: the sampling distribution.
            stream: `train` or `evaluation`.
            step: of the training, so that iterations differ.
            completions_per_prompt: completions of each prompt, consecutive in the result.
            mask_rule: the mask of rollouts.
            progress: called with the number of rows that were finished.
        """
        n, policy, side = completions_per_prompt, self.policy, self.policy.family.padding_side
        stop = stop_at(self.decoder, settings.stop) if settings.stop else None
        rows, seen, conversations = self.encoder.read(samples)
        # Every process decodes some of the prompts, or one for its shape; the keys are those of the whole iteration.
        mine = distributed.share(len(rows))
        keys = draw_keys(self.seed, STREAMS[stream], step, torch.arange(len(rows) * n)).view(len(rows), n)
        # Prompts of similar length are decoded together, so that little of a batch is padding.
        order = sorted(mine or range(1), key=lambda i: len(rows[i]))
        pieces: list[Generation] = []
        for start in range(0, len(order), per_batch := max(1, settings.batch_size // n)):
            batch = order[start : start + per_batch]
            ids, mask = (x.to(policy.device) for x in pad([rows[i] for i in batch], policy.tokens.pad, side))
            if isinstance(settings, EvalGenerationConfig) and settings.num_beams > 1:
                pieces.append(policy.beam_search(ids, mask, settings, stop))
            else:
                options = {"settings": settings, "completions_per_prompt": n, "mask_rule": mask_rule, "stop": stop}
                pieces.append(policy.generate(ids, mask, keys[batch].flatten().to(policy.device), **options))
            if progress is not None:
                progress(len(batch) * n)
        back = torch.tensor(order).argsort()[:, None] * n + torch.arange(n)
        back = back.flatten().to(policy.device)[: len(mine) * n]

        def whole(columns: Sequence[Tensor], fill: float | bool) -> Tensor:
            return distributed.gather_rows(stack(columns, fill)[back], fill)

        completion_ids = whole([p.completion_ids for p in pieces], policy.tokens.pad)
        completion_mask = whole([p.completion_mask for p in pieces], False)
        sampled = zip(*(p.sampled for p in pieces), strict=True)
        masks = [p.token_mask for p in pieces if p.token_mask is not None]
        prompts, completions = [row for row in rows for _ in range(n)], unpad(completion_ids, completion_mask)
        prompt_ids, prompt_mask = pad(prompts, policy.tokens.pad, side)
        return Rollout(
            samples=[sample for sample in samples for _ in range(n)],
            prompt_ids=prompt_ids.to(policy.device),
            prompt_mask=prompt_mask.to(policy.device),
            completion_ids=completion_ids,
            completion_mask=completion_mask,
            prompts=[text for text in seen for _ in range(n)],
            completions=self.decoder(completions),
            texts=self.decoder.together(prompts, completions),
            terminated=distributed.gather_rows(torch.cat([p.terminated for p in pieces])[back], False),
            token_mask=whole(masks, 0) if masks else None,
            sampled=Pass(*(None if column[0] is None else whole(column, 0.0) for column in sampled)),
            conversations=[messages for messages in conversations for _ in range(n)],
            group_size=n,
        )


def run_pass(module: nn.Module, rollout: Rollout, rows: Tensor, *, masked: bool = True, **options: Any) -> Pass:
    """Run the log-prob pass on some rows (b,) of a rollout, trimmed to their longest prompt and completion; results
    have full width T. Of rows that hold all completions of their prompts, each prompt is given once.

    Args:
        module: a policy, or what it is wrapped in.
        rollout: whose rows.
        rows: indices into it.
        masked: whether the behaviour policy is restricted to the rollout's token mask.
        options: of `Policy.forward`, such as `temperature`, `values`, `loss`.
    """
    first = rows[:: rollout.together(rows)]
    prompts, completions = trim(rollout.prompt_mask[first]), trim(rollout.completion_mask[rows])
    token_mask = rollout.token_mask if masked else None
    out: Pass = module(
        rollout.prompt_ids[first][:, prompts],
        rollout.prompt_mask[first][:, prompts],
        rollout.completion_ids[rows][:, completions],
        rollout.completion_mask[rows][:, completions],
        token_mask=None if token_mask is None else token_mask[rows][:, completions],
        **options,
    )
    missing = (0, rollout.completion_ids.shape[1] - completions.stop)
    return Pass(*(x if x is None or not x.ndim else nn.functional.pad(x, missing) for x in out))


def groups(rollout: Rollout, rows: Tensor, most: int) -> list[Tensor]:
    """Divide rows (b,) of a rollout into groups of similar length, none larger than `most`: what one pass should
    hold. The completions of a prompt stay together where all of them are there.
    """
    n = rollout.together(rows) if most >= rollout.group_size else 1
    lengths = (rollout.prompt_mask[rows].sum(-1) + rollout.completion_mask[rows].sum(-1)).view(-1, n).amax(-1)
    return [rows.view(-1, n)[group].flatten() for group in group_by_length(lengths.tolist(), most // n)]


@torch.no_grad()
def log_prob_pass(policy: Policy, rollout: Rollout, rows: Tensor | None = None, **options: Any) -> Pass:
    """Run the pass over all rows, or some (b,), without gradients, in batches of similar length; every process over
    some of them.
    """
    rows = torch.arange(len(rollout), device=rollout.prompt_ids.device) if rows is None else rows
    n = rollout.together(rows)
    mine = [i * n + j for i in distributed.share(len(rows) // n) for j in range(n)]
    batches = groups(rollout, rows[mine] if mine else rows[:n], _PASS_ROWS)
    parts = [run_pass(policy, rollout, batch, **options) for batch in batches]
    back = torch.cat(batches).argsort()[: len(mine)]  # the rows are in order
    columns = (None if column[0] is None else torch.cat(column)[back] for column in zip(*parts, strict=True))
    return Pass(*(None if column is None else distributed.gather_rows(column) for column in columns))


def sampler_error(policy: Policy, rollout: Rollout, again: Pass, rows: Tensor | None = None) -> float:
    """Return the largest difference in nats between the sampler's log-probs, under the behaviour policy and under the
    full softmax, and those of a pass over all rows, or some.

    Raises:
        ModelError: they differ by more than rounding, so what was sampled is not what is trained or measured.
    """
    assert rollout.sampled is not None
    which = slice(None) if rows is None else rows
    columns = zip(rollout.sampled[:2], again[:2], strict=True)
    pairs = [(ours[which] - theirs) for ours, theirs in columns if ours is not None and theirs is not None]
    errors = torch.stack(pairs)[:, rollout.completion_mask[which]].abs()
    largest = float(errors.max())
    if disagreement := policy.disagreement(float(errors.mean()), largest):
        raise ModelError(
            f"the log-probs of the sampler and of the log-prob pass differ by {disagreement}: the cache, positions or "
            "padding of this model are handled differently in the two; `rl4lms doctor` looks closer"
        )
    return largest
