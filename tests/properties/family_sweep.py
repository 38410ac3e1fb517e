"""Every family that `transformers` has, tried from the folder to the saved model.

python -m tests.properties.family_sweep            prints the table of docs/models.md
python -m tests.properties.family_sweep --write    writes it
"""

from __future__ import annotations

import functools
import os
import re
import sys
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel

from rl4lms.config.generation import SamplingConfig
from rl4lms.config.model import ModelConfig
from rl4lms.core.packing import Packed
from rl4lms.core.padding import pad
from rl4lms.core.sampling import draw_keys
from rl4lms.core.token_masks import top_p_mask
from rl4lms.errors import ModelError
from rl4lms.models.build import build_models
from rl4lms.models.families import CausalFamily, EncoderDecoderFamily
from rl4lms.models.generate import MaskRule
from rl4lms.models.groups import Grouped
from rl4lms.models.loading import load_lm, special_tokens
from rl4lms.models.policy import Policy
from rl4lms.models.saving import save_model
from tests.properties.family_zoo import ARCHITECTURES, NAMES, zoo_lm
from tests.runs import number_prompts, run_steps, small_loop
from tests.tiny import EOS, number_tokenizer

MARK = "<!-- Below: python -m tests.properties.family_sweep --write -->"
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
CPU = torch.device("cpu")
TOLERANCE = 1e-3
SAME_GRADIENT = 1e-5  # of the largest
# Token ids 3 to 98 are numbers
PROMPTS = [[5 + (7 * i * k) % 80 for k in range(length)] for i, length in enumerate((20, 1, 7, 7, 12, 2), 1)]
# What models of many kinds raise where something is not as they expect it
FAULTS = (ValueError, TypeError, AttributeError, LookupError, ImportError, StrictDataclassError)
# Layers that get adapters, first to last: the usual ones where not every linear layer can have one
TARGETS: tuple[str | list[str], ...] = ("all-linear", ["q_proj", "v_proj"], ["q_a_proj"], ["in_proj"])
MANY_EOS = [EOS, *range(60, 75)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row of the table.

    Attributes:
        family: such as `causal:llama`.
        result: "works", "works in groups", "refused", "not built" or "fails".
        shares: how a prompt is computed once for its completions, "encoded once" or "one row", the latter maybe only
            "without windows"; "no" where it is not, "" where it was not tried.
        adapters: the layers that LoRA works on, "refused", or "" where it was not tried.
        note: the message of what was refused.
    """

    family: str
    result: str
    shares: str = ""
    adapters: str = ""
    note: str = ""

    def row(self) -> str:
        """Return the line of the table."""
        kind, name = self.family.split(":")
        # Sets of names are printed in any order
        note = re.sub(r"\{([^{}]*)\}", lambda found: "{" + ", ".join(sorted(found[1].split(", "))) + "}", self.note)
        cells = (f"`{name}`", f"`{ARCHITECTURES[kind][name]}`", self.result, self.shares, self.adapters, note)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def outcome(family: str, folder: Path) -> Outcome:
    """Try one family: load, score, sample, train, adapt, save."""
    try:
        lm = zoo_lm(family)
    except FAULTS as error:  # of a config's own defaults, or a missing package: written into the table
        return Outcome(family, "not built", note=_first_line(error))
    try:
        policy = loaded(lm, folder)
    except ModelError as error:
        return Outcome(family, "refused", note=str(error).replace(f"{folder}/", ""))
    result = "works in groups" if isinstance(policy.family, Grouped) else "works"
    try:
        _check_sampling(policy)
        shares = sharing(family, policy)
        for value in ("separate", "shared"):
            _check_training(folder, value, {"value": value})
        adapters, note = _adapters(folder)
    except (AssertionError, RuntimeError, *FAULTS) as error:
        return Outcome(family, "fails", note=f"{type(error).__name__}: {_first_line(error)}")
    return Outcome(family, result, shares, adapters, note)


def loaded(lm: PreTrainedModel, folder: Path) -> Policy:
    """Save a model of the zoo with a tokenizer, and load it as a recipe does."""
    model, tokenizer = folder / "lm-zoo", number_tokenizer(95)
    lm.generation_config.eos_token_id = MANY_EOS
    lm.save_pretrained(model)
    tokenizer.save_pretrained(model)
    return build_models(ModelConfig(path=str(model)), CPU, value=False).policy


def sharing(family: str, policy: Policy) -> str:
    """Compare gradients with a prompt for all its completions and a prompt for each; return the cell of the table."""
    found = _check_sharing(policy)
    if found != "no" or not isinstance(policy.family, CausalFamily):
        return found
    try:
        lm = zoo_lm(family, windows=False)
        plain = Policy(lm, special_tokens(lm, None))
    except (ModelError, RuntimeError, *FAULTS):  # it is nothing without its windows
        return found
    return "without windows" if _check_sharing(plain) == "one row" else found


def _check_sharing(policy: Policy) -> str:
    """Return how the prompts are computed once, by what runs; "no" where they are computed again."""
    packed, encode = CausalFamily.packed, EncoderDecoderFamily._encode
    with (
        mock.patch.object(Packed, "pays", return_value=True),  # also where it costs more: these models are tiny
        mock.patch.object(CausalFamily, "packed", autospec=True, side_effect=packed) as rows,
        mock.patch.object(EncoderDecoderFamily, "_encode", autospec=True, side_effect=encode) as encoded,
    ):
        shared = _gradient(policy, together=True)
        ran = rows.call_count, sum(len(call.args[1]) for call in encoded.call_args_list)
        apart = _gradient(policy, together=False)
        assert rows.call_count == ran[0], "a prompt for each completion was packed"
    error = float((shared - apart).abs().max() / apart.abs().max())
    assert error <= SAME_GRADIENT, f"gradients of shared prompts differ by {error:.2g} of the largest"
    return "one row" if ran[0] else "encoded once" if ran[1] == len(PROMPTS) else "no"


def _gradient(policy: Policy, together: bool) -> torch.Tensor:
    """Of a loss of all that a pass says, for three completions of each prompt."""
    ids, mask = pad(PROMPTS, policy.tokens.pad, policy.family.padding_side)
    rows = [[5 + (11 * i * k) % 80 for k in range(1 + i % 6)] for i in range(3 * len(PROMPTS))]
    completions, real = pad(rows, policy.tokens.pad, "right")
    if not together:
        ids, mask = ids.repeat_interleave(3, 0), mask.repeat_interleave(3, 0)
    out = policy(ids, mask, completions, real, temperature=0.8)
    policy.zero_grad()
    (out.logprobs.exp() + out.entropy * out.full_logprobs).sum().backward()
    found = torch.cat([p.grad.flatten() for p in policy.lm.parameters() if p.grad is not None])
    policy.zero_grad()
    return found


def _adapters(folder: Path) -> tuple[str, str]:
    """Return on which layers adapters work, and why not on all linear ones."""
    note = ""
    for targets in TARGETS:
        try:
            _check_training(folder, "lora", {"lora": {"r": 2, "target_modules": targets}})
        except ModelError as error:
            note = note or str(error)
        else:
            return targets if isinstance(targets, str) else ", ".join(targets), note
    return "refused", note


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]


@torch.no_grad()
def _check_sampling(policy: Policy) -> None:
    """Sampler, log-prob pass and the model's plain forward agree, with every setting on."""
    settings = SamplingConfig(max_new_tokens=10, temperature=0.8, top_k=40, top_p=0.95, min_new_tokens=3)
    ids, mask = pad(PROMPTS, policy.tokens.pad, policy.family.padding_side)
    keys, n = draw_keys(0, 0, 0, torch.arange(3 * len(PROMPTS))), 3
    rule = MaskRule(policy, functools.partial(top_p_mask, top_p=0.9, min_tokens_to_keep=2))
    out = policy.generate(ids, mask, keys, settings=settings, completions_per_prompt=n, mask_rule=rule)
    rows = (ids.repeat_interleave(n, 0), mask.repeat_interleave(n, 0), out.completion_ids, out.completion_mask)
    scored = policy(*rows, temperature=0.8, token_mask=out.token_mask)
    for name in ("logprobs", "full_logprobs", "kept_mass", "entropy"):
        _close(f"sampler and log-prob pass ({name})", getattr(out.sampled, name), getattr(scored, name))
    assert int(out.completion_mask.sum(-1).min()) >= 3
    for row in range(len(keys)):
        completion = out.completion_ids[row][out.completion_mask[row]].tolist()
        logits = _plain_logits(policy, PROMPTS[row // n], completion)
        full = logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]
        _close("log-prob pass and plain forward", scored.full_logprobs[row, : len(completion)], full)


def _plain_logits(policy: Policy, prompt: list[int], completion: list[int]) -> torch.Tensor:
    prefix = list(policy.tokens.decoder_prefix)
    if prefix:
        inputs = {"input_ids": torch.tensor([prompt]), "decoder_input_ids": torch.tensor([prefix + completion[:-1]])}
    else:
        inputs = {"input_ids": torch.tensor([prompt + completion[:-1]])}
    return policy.lm(**inputs, use_cache=False).logits[0, -len(completion) :]


def _close(what: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    error = float((ours - theirs).abs().max())
    assert error <= TOLERANCE, f"{what} differ by {error:.2g} nats"


def _check_training(folder: Path, name: str, model: dict[str, object]) -> None:
    """Two iterations of NLPO; what is saved is what was trained."""
    prompts = folder / "numbers.jsonl"
    if not prompts.exists():
        number_prompts(prompts, rows=8)
    loop = small_loop(
        folder,
        "zoo",
        output_dir=str(folder / f"run-{name}"),
        model=model,
        algorithm={"name": "nlpo", "mask_top_p": 0.9, "mask_update_every": 1, "n_epochs": 1},
        rollout={"max_new_tokens": 4, "completions_per_prompt": 2},
        training={"iterations": 2, "prompts_per_iteration": 4},
    )
    policy = loop.models.policy
    before = {n: p.detach().clone() for n, p in policy.named_parameters()}
    for numbers in run_steps(loop, 2):
        assert numbers["train/first_ratio_error"] < TOLERANCE
        assert numbers["rollout/sampler_error"] < TOLERANCE
    assert any(not torch.equal(before[n], p) for n, p in policy.named_parameters()), "nothing was trained"
    save_model(policy, loop.models.tokenizer, folder / f"saved-{name}", "# card")
    lm = load_lm(ModelConfig(path=str(folder / f"saved-{name}")), CPU)
    again = Policy(lm, special_tokens(lm, loop.models.tokenizer))
    ids, mask = pad(PROMPTS, policy.tokens.pad, policy.family.padding_side)
    completions = torch.arange(6 * len(PROMPTS)).view(-1, 6) + 5
    with torch.no_grad():
        ours, theirs = (p(ids, mask, completions, completions > 0).full_logprobs for p in (policy, again))
    error = float((ours - theirs).abs().max())
    # An adapter is merged into weights, which rounds
    assert error == 0 or ("lora" in model and error < TOLERANCE), f"the saved model differs by {error:.2g} nats"


def sweep(family: str) -> Outcome:
    """Try one family in a folder of its own."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = outcome(family, Path(folder))
    print(found.row(), file=sys.stderr, flush=True)
    return found


def table(outcomes: list[Outcome]) -> str:
    """Return what docs/models.md has below its mark."""
    counts = Counter(found.result for found in outcomes)
    said = ", ".join(f"{number} {result}" for result, number in counts.most_common())
    lines = [f"\n`transformers` {transformers.__version__}, {len(outcomes)} families: {said}.\n"]
    for kind, title in (("causal", "Decoder-only models"), ("seq2seq", "Encoder-decoders")):
        lines += [f"\n## {title}\n\n", "| family | class | result | shares prompts | LoRA | message |\n"]
        lines += ["|---|---|---|---|---|---|\n"]
        lines += [found.row() + "\n" for found in outcomes if found.family.startswith(kind)]
    return "".join(lines)


def committed_sharing(family: str) -> str:
    """Return what docs/models.md says of the prompts of a family."""
    return committed_rows()[family].split("|")[4].strip()


def committed_rows() -> dict[str, str]:
    """Return the rows of docs/models.md by family, such as `causal:llama`."""
    rows, kind = {}, ""
    for line in PAGE.read_text(encoding="utf-8").partition(MARK)[2].splitlines():
        if line.startswith("## "):
            kind = "causal" if line == "## Decoder-only models" else "seq2seq"
        elif line.startswith("| `"):
            rows[f"{kind}:{line.split('`')[1]}"] = line
    return rows


def without_numbers(row: str) -> str:
    """Return a row without the numbers of its message, which differ between CPUs."""
    return re.sub(r"\d+(\.\d+)?(e-\d+)?", "#", row)


if __name__ == "__main__":
    transformers.logging.disable_progress_bar()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(sweep, NAMES))
    if "--write" in sys.argv:
        prose = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
        PAGE.write_text(prose + MARK + "\n" + table(outcomes), encoding="utf-8")
    else:
        print(table(outcomes))
