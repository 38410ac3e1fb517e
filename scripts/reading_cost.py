"""What a reader has to open to follow one training step, from `loop.step()` to `optimizer.step()`.

Runs one real PPO iteration on a tiny model, notes every function of this package that is executed before the first optimiser step, and
prints their lines per file. Fails above 4 files or 600 lines. Not counted are leaf functions and plug-ins, listed with their reason in
`NOT_COUNTED`: a reader can follow the step without opening them.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from torch.optim.optimizer import register_optimizer_step_pre_hook

import rl4lms

MAX_FILES, MAX_LINES = 4, 600

# path inside the package (a folder or a file): why it is not counted
NOT_COUNTED = {
    "core": "pure functions of tensors, each named in the code and documented with its equation",
    "models/families.py": "how each HF family is run: behind `Policy.forward` and `Policy.generate`, held to HF's own logits by tests",
    "models/activations.py": "one activation function of the models",
    "models/cache.py": "keys and values of past tokens, behind the families; held to HF's own cache by tests",
    "models/generate.py": "the sampler: behind `Policy.generate`, held to the log-prob pass by tests",
    "rollout/prompts.py": "tokenisation of prompts: texts in, ids out",
    "types.py": "the data, documented field by field",
    "distributed.py": "leaf functions that do nothing on one process",
    "tasks": "where prompts come from: behind `samples[i]`",
    "rewards": "the reward is a plug-in",
    "metrics": "a reward's checks of its columns",
    "plugins/calling.py": "how a plug-in is called: only the parameters it names",
    "training/tracking.py": "the tracker is a plug-in",
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
    """Runs `step` and returns the code of the package that was executed before the first optimiser step.

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


def costs(executed: Iterable[CodeType], package: Path, not_counted: Mapping[str, str]) -> list[FileCost]:
    """The lines of executed functions by file, most lines first."""
    starts: dict[Path, set[int]] = {}
    for code in executed:
        starts.setdefault(Path(code.co_filename), set()).add(code.co_firstlineno)
    found = []
    for file, lines in starts.items():
        path = file.relative_to(package).as_posix()
        if any(path == skipped or path.startswith(f"{skipped}/") for skipped in not_counted):
            continue
        text = file.read_text(encoding="utf-8")
        spans = _functions(ast.parse(text), lines)
        if spans:  # empty where only the module or class bodies ran, on import
            union = set().union(*(set(span) for _, span in spans))
            found.append(FileCost(path, tuple((name, len(span)) for name, span in spans), len(union), text.count("\n")))
    return sorted(found, key=lambda cost: (-cost.lines, cost.path))


def _functions(tree: ast.Module, starts: set[int]) -> list[tuple[str, range]]:
    """Name and lines, decorators included, of the functions in which the given lines stand (innermost; comprehensions are theirs)."""
    definitions: list[tuple[str, range]] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = f"{prefix}{child.name}" if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                definitions.append((name, range(first, (child.end_lineno or first) + 1)))
            visit(child, f"{name}." if name != prefix else prefix)

    visit(tree, "")
    innermost = {min((d for d in definitions if line in d[1]), key=lambda d: len(d[1]), default=None) for line in starts}
    return sorted((d for d in innermost if d is not None), key=lambda d: d[1].start)


def report(files: list[FileCost], not_counted: Mapping[str, str]) -> str:
    """The table that is printed."""
    rows = []
    for file in files:
        rows.append(f"{file.path}  {file.lines} lines (of {file.whole})")
        rows += [f"    {lines:4d}  {name}" for name, lines in file.functions]
    rows += [f"not counted: {path} - {reason}" for path, reason in not_counted.items()]
    total = sum(file.lines for file in files)
    return "\n".join(
        [*rows, f"from loop.step() to optimizer.step(): {len(files)} files, {total} lines (at most {MAX_FILES} and {MAX_LINES})"]
    )


def check(step: Callable[[], Any], package: Path, not_counted: Mapping[str, str]) -> int:
    """Traces, prints, and returns the exit status: 1 above the limits."""
    files = costs(trace(step, package), package, not_counted)
    print(report(files, not_counted))
    return int(len(files) > MAX_FILES or sum(file.lines for file in files) > MAX_LINES)


def tiny_ppo_step(folder: Path) -> Callable[[], Any]:
    """One PPO iteration of a tiny GPT-2 with random weights, on four prompts; everything lies in `folder`."""
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
        vocab_size=len(words), n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1, pad_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder / "model")
    (folder / "prompts.jsonl").write_text("".join(f'{{"prompt": "{letter}"}}\n' for letter in "abcd"), encoding="utf-8")

    def reward(completions: list[str], **columns: Any) -> list[float]:
        return [float(len(completion)) for completion in completions]

    settings: dict[str, Any] = {
        "model": folder / "model",
        "data": {"train": folder / "prompts.jsonl", "validation": folder / "prompts.jsonl"},
        "prompt": {"max_tokens": 8},
        "rollout": {"max_new_tokens": 4},
        "training": {"prompts_per_iteration": 4},
        "device": "cpu",
    }
    loop = assemble(recipe_from_dict(settings), folder / "run", reward=reward)
    return lambda: loop.step(0)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        return check(tiny_ppo_step(Path(folder)), Path(rl4lms.__file__).parent, NOT_COUNTED)


if __name__ == "__main__":
    sys.exit(main())
