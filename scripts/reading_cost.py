"""What a reader has to open to follow one training step, from `loop.step()` to the first `optimizer.step()`.

Runs one real PPO iteration on a tiny model and notes every function of this package that is executed before the first
optimiser step. Three figures are printed, and nothing that ran is left out of the first:

* everything: all those functions, by file.
* the RL part: what somebody must read who wants to know what is computed from prompts, a model's logits and scores up
  to the new weights, and why. A file belongs to it if another answer to "which RL do you do?" could change it: how
  tokens are drawn, which log-probs are taken, how scores become rewards, advantages, a loss and a step. It does not if
  the same RL could be done with another one in its place: how a family of HF models is run, where prompts come from
  and how plug-ins are called, config, several processes, tracking and files. `RL_PART` and `ELSEWHERE` list both, by
  whole folders where they can; a file that is in neither is an error, so that a new one is thought about.
* the stand-alone file, which does the same with nothing of this package.

A function counts with all its lines: signature, docstring, blank lines. What stands outside of functions (fields of
data classes, constants, docstrings of classes and modules) is not executed by a step and not counted; the lines of the
whole files are printed beside. Fails above 14 files or 1,115 lines of the RL part, or 300 lines of the stand-alone
file. The aim for the RL part is 900 lines, which it has not reached: the limit is where it stands, so that it gets
longer only by a decision. The last ones, from 1,035: the sampler's numbers take the place of a log-prob pass, a prompt
is computed once for its completions, and a loss may have a KL in closed form; from 1,108: on a CPU logits come in
smaller pieces.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from torch.optim.optimizer import register_optimizer_step_pre_hook

import rl4lms

RL_FILES, RL_LINES, STAND_ALONE_LINES = 14, 1115, 300
STAND_ALONE = Path(__file__).parents[1] / "examples" / "ppo_single_file.py"

# Paths inside the package, folders or files. The more specific one decides: `models/policy.py` is not `models`.
RL_PART = (
    "algorithms",
    "core",
    "models/generate.py",
    "models/policy.py",
    "rollout",
    "training/loop.py",
    "types.py",
)
# path: what is done there, and so why another one in its place would leave the RL as it is
ELSEWHERE = {
    "algorithms/checks.py": "what an algorithm may return",
    "core/padding.py": "rows of different length as one tensor, and back",
    "data": "rows of files",
    "plugins": "how a plug-in is called: by the parameters it names",
    "integrations/gym_id.py": "asked at every import whether it is Gymnasium that is imported",
    "distributed.py": "several processes; on one its functions return what they are given",
    "metrics": "metrics; checks of columns that rewards share",
    "models": "how families of HF models are run: hidden states, head, cache, kernels, to the logits of HF's own code",
    "rollout/chat.py": "which tokens a conversation is",
    "rollout/prompts.py": "which tokens a prompt is",
    "rollout/texts.py": "which text tokens are",
    "rewards": "how a reward is called, and what it may return",
    "tasks": "where prompts come from",
    "runs": "where numbers are written",
}


@dataclass(frozen=True, slots=True)
class FileCost:
    """What was executed of one file.

    Attributes:
        path: inside the package.
        functions: name and number of lines of each function, in the order of the file.
        lines: lines of all of them together; a nested function counts once.
        whole: lines of the file.
    """

    path: str
    functions: tuple[tuple[str, int], ...]
    lines: int
    whole: int


def trace(step: Callable[[], Any], package: Path) -> set[CodeType]:
    """Run `step` and return the code of the package that was executed before the first optimiser step.

    Raises:
        RuntimeError: no optimiser step was taken.
    """
    seen: set[CodeType] = set()
    prefix, reached = f"{package}/", []

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(prefix):
            seen.add(frame.f_code)

    def stop(*_: Any) -> None:
        sys.setprofile(None)
        reached.append(True)

    hook = register_optimizer_step_pre_hook(stop)
    sys.setprofile(profile)
    try:
        step()
    finally:
        sys.setprofile(None)
        hook.remove()
    if not reached:
        raise RuntimeError("no optimiser step was taken")
    return seen


def costs(executed: Iterable[CodeType], package: Path) -> list[FileCost]:
    """Count the lines of executed functions by file, most lines first."""
    starts: dict[Path, set[int]] = {}
    for code in executed:
        starts.setdefault(Path(code.co_filename), set()).add(code.co_firstlineno)
    found = []
    for file, lines in starts.items():
        text = file.read_text(encoding="utf-8")
        spans = _functions(ast.parse(text), lines)
        if spans:  # empty where only the module or class bodies ran, on import
            union = set().union(*(set(span) for _, span in spans))
            functions = tuple((name, len(span)) for name, span in spans)
            found.append(FileCost(file.relative_to(package).as_posix(), functions, len(union), text.count("\n")))
    return sorted(found, key=lambda cost: (-cost.lines, cost.path))


def entry_for(path: str, entries: Iterable[str]) -> str | None:
    """Find the most specific of some files and folders that a path is or lies in; None if there is none."""
    return max((entry for entry in entries if path == entry or path.startswith(f"{entry}/")), key=len, default=None)


def rl_part(files: Sequence[FileCost], rl: Sequence[str], elsewhere: Mapping[str, str]) -> list[FileCost]:
    """Take the files of the RL part.

    Raises:
        ValueError: a file is neither in it nor elsewhere.
    """
    entries = {file: entry_for(file.path, [*rl, *elsewhere]) for file in files}
    unknown = [file.path for file, entry in entries.items() if entry is None]
    if unknown:
        raise ValueError(f"say in RL_PART or ELSEWHERE what these are: {', '.join(unknown)}")
    return [file for file, entry in entries.items() if entry in rl]


def _functions(tree: ast.Module, starts: set[int]) -> list[tuple[str, range]]:
    """Find name and lines, with decorators, of the innermost functions that the given lines stand in."""
    definitions: list[tuple[str, range]] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            name = f"{prefix}{child.name}" if is_function or isinstance(child, ast.ClassDef) else prefix
            if is_function:
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                definitions.append((name, range(first, (child.end_lineno or first) + 1)))
            visit(child, f"{name}." if name != prefix else prefix)

    visit(tree, "")
    around = [[d for d in definitions if line in d[1]] for line in starts]
    innermost = {min(found, key=lambda d: len(d[1]), default=None) for found in around}
    return sorted((d for d in innermost if d is not None), key=lambda d: d[1].start)


def report(files: Sequence[FileCost], part: Sequence[FileCost], elsewhere: Mapping[str, str], stand_alone: int) -> str:
    """Write down what is printed."""
    rows = ["everything:"]
    for file in files:
        rows.append(f"{file.path}  {file.lines} lines (of {file.whole})")
        rows += [f"    {lines:4d}  {name}" for name, lines in file.functions]
    rows.append("the RL part:")
    rows += [f"    {file.lines:4d}  {file.path}" for file in part]
    rows.append("not the RL part:")
    rest = [file for file in files if file not in part]
    rows += [f"    {file.lines:4d}  {file.path}: {elsewhere[entry_for(file.path, elsewhere) or '']}" for file in rest]
    rows.append(f"everything: {_figure(files)}")
    rows.append(f"the RL part: {_figure(part)}; at most {RL_FILES} files, {RL_LINES} lines")
    rows.append(f"the stand-alone file: {stand_alone} lines; at most {STAND_ALONE_LINES}")
    return "\n".join(rows)


def _figure(files: Sequence[FileCost]) -> str:
    total, whole = sum(file.lines for file in files), sum(file.whole for file in files)
    return f"{len(files)} files, {total} lines of functions (whole files: {whole})"


def status(part: Sequence[FileCost], stand_alone: int) -> int:
    """Return 1 above a limit, else 0."""
    too_long = len(part) > RL_FILES or sum(file.lines for file in part) > RL_LINES
    return int(too_long or stand_alone > STAND_ALONE_LINES)


def tiny_ppo_step(folder: Path) -> Callable[[], Any]:
    """Return one PPO iteration of a tiny GPT-2 with random weights, on four prompts; everything lies in `folder`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from rl4lms.config import recipe_from_dict
    from rl4lms.training.run import assemble

    words = ["<pad>", "</s>", "<unk>", *"abcdefgh"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder / "model")
    config = GPT2Config(
        vocab_size=len(words),
        n_positions=32,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(folder / "model")
    (folder / "prompts.jsonl").write_text("".join(f'{{"prompt": "{letter}"}}\n' for letter in "abcd"), encoding="utf-8")

    def reward(completions: list[str], **columns: Any) -> list[float]:
        return [float(len(completion)) for completion in completions]

    settings: dict[str, Any] = {
        "model": folder / "model",
        "data": {"train": folder / "prompts.jsonl", "validation": folder / "prompts.jsonl"},
        "evaluation": {"on_training_data": True},
        "prompt": {"max_tokens": 8},
        "rollout": {"max_new_tokens": 4},
        "training": {"prompts_per_iteration": 4},
        "device": "cpu",
    }
    loop = assemble(recipe_from_dict(settings), folder / "run", reward=reward)
    return lambda: loop.step(0)


def main() -> int:
    package = Path(rl4lms.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        files = costs(trace(tiny_ppo_step(Path(folder)), package), package)
    part, stand_alone = rl_part(files, RL_PART, ELSEWHERE), STAND_ALONE.read_text(encoding="utf-8").count("\n")
    print(report(files, part, ELSEWHERE, stand_alone))
    return status(part, stand_alone)


if __name__ == "__main__":
    sys.exit(main())
