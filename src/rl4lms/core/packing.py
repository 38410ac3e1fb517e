"""A prompt and several completions of it as one row, in which completions do not see each other."""

from __future__ import annotations

import torch
from torch import Tensor

# How much longer attention takes for a pair of tokens in a mask of its own than behind a plain causal mask, which
# half of the pairs are not computed for.
_PAIR = 3.0
_BLOCK = 128  # tokens, of flex attention: about so many pairs of each token are computed for nothing


class Packed:
    """Rows of a prompt and the n completions that follow it, without padding between them.

    Args:
        prompt_ids, prompt_mask: (b, P), padded on the left.
        completion_ids, completion_mask: (b n, T), padded on the right; n consecutive ones belong to a prompt.

    Attributes:
        ids: (b, L): the prompt, then every completion but its last token.
        positions: (b, L): those of each completion go on from its prompt.
        before: int64 (N,): which of the b L tokens predicts each real completion token, row by row.
    """

    def __init__(
        self, prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor
    ) -> None:
        b, n, device = len(prompt_ids), len(completion_ids) // len(prompt_ids), prompt_ids.device
        prompts, inputs = prompt_mask.sum(-1), (completion_mask.sum(-1) - 1).clamp(min=0)
        row = torch.arange(b, device=device).repeat_interleave(n)
        begins = prompts[row] + (inputs.view(b, n).cumsum(-1) - inputs.view(b, n)).flatten()
        self.width = int((prompts + inputs.view(b, n).sum(-1)).max())
        self.unpacked = len(completion_ids), int((prompts[row] + inputs).max())
        self._lengths = prompts[row].view(b, n), inputs.view(b, n)

        column = torch.arange(self.width, device=device)
        real = column < prompts[:, None]
        source = (column + (prompt_ids.shape[1] - prompts)[:, None]).clamp(max=prompt_ids.shape[1] - 1)
        self.ids = torch.where(real, prompt_ids.gather(1, source), 0)
        self.positions = torch.where(real, column, 0)
        self.part = torch.where(real, 0, -1)  # 0 in the prompt, i in its i-th completion, -1 behind

        step = torch.arange(completion_ids.shape[1] - 1, device=device)
        given = step < inputs[:, None]
        place = (row * self.width + begins)[:, None] + step
        place = place[given]
        self.ids.view(-1)[place] = completion_ids[:, :-1][given]
        self.positions.view(-1)[place] = (prompts[row][:, None] + step)[given]
        index = torch.arange(len(row), device=device) % n + 1
        self.part.view(-1)[place] = index[:, None].expand_as(given)[given]

        step = torch.arange(completion_ids.shape[1], device=device)
        last = torch.where(step == 0, prompts[row][:, None] - 1, begins[:, None] + step - 1)
        self.before = (row[:, None] * self.width + last)[completion_mask]

    def mask(self, attention: str, dtype: torch.dtype) -> Tensor:
        """Return which pairs of tokens attend, (b, 1, L, L): bool, or, for `eager` attention, what is added in `dtype`.

        A token sees its prompt, and what is before it in its own completion.
        """
        column = torch.arange(self.width, device=self.part.device)
        seen = (self.part[:, None, :] == 0) | (self.part[:, None, :] == self.part[:, :, None])
        seen = (seen & (column <= column[:, None]))[:, None]
        if attention != "eager":
            return seen
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)

    def pays(self, hidden_size: int, flex: bool = False) -> bool:
        """Return whether the prompts that are saved cost more than pairs of tokens that do not see each other.

        By the floating-point work of a transformer layer: 24 d^2 for each token and 4 d for each pair.

        Args:
            hidden_size: d.
            flex: whether attention leaves out blocks of pairs that do not see each other.
        """
        rows, width = self.unpacked
        pairs = self.pairs(flex) if flex else _PAIR * self.pairs(flex)
        return 6 * hidden_size * self.ids.numel() + pairs < rows * width * (6 * hidden_size + width / 2)

    def pairs(self, flex: bool) -> float:
        """Return about how many pairs of tokens attention computes; half of all, as behind a causal mask."""
        tokens = self.ids.numel()
        if not flex:
            return tokens * self.width / 2
        prompts, inputs = self._lengths
        prompts = prompts[:, :1]
        behind = self.width - prompts - inputs.sum(-1, keepdim=True)
        inputs = torch.cat([inputs, behind], -1)  # padding sees what one more completion would
        seen = (prompts[:, 0] ** 2 / 2).sum() + (inputs * (prompts + inputs / 2)).sum()
        return float(seen) + tokens * _BLOCK
