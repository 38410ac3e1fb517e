"""Recipes and overrides that were tampered with: one message and exit code 2, or a recipe that reads the same when it
is written down.

Every case goes through the command line in this process (`train RECIPE [KEY=VALUE] --dry-run`), the bytes on disk and
all. With `pytest -m slow -s`, this file runs 1,000 cases and prints how many were accepted and refused, by kind.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rl4lms.cli.main import app
from rl4lms.config import Recipe, dump_recipe, read_recipe
from rl4lms.errors import ConfigError
from rl4lms.recipes import FOLDER

SECONDS, MEGABYTES = 10, 100  # what one case may take

FULL = """\
name: everything
seed: 3
device: cpu
output_dir: runs/fuzz
model: {path: gpt2, value: shared, dtype: float32, gradient_checkpointing: false, lora: {r: 4, alpha: 8}}
data: {train: train.jsonl, holdout: 5, prompt_column: question, limit: 10}
prompt: {max_tokens: 32, truncation_side: right, prefix: 'Q: ', suffix: ' A:'}
supervised: {epochs: 1.5, batch_size: 4, learning_rate: 1e-4, lr_scheduler_type: cosine}
algorithm: {name: nlpo, n_epochs: 2, mask_top_p: 0.8, target_kl: 0.1, whiten_advantages: true}
reward: {name: sum, parts: [{reward: dates, weight: 2}, {reward: {name: rouge, key: rouge1}, key: overlap}]}
reward_faults: {exception: mask, timeout: constant, timeout_s: 30, constant: -1}
rollout: {max_new_tokens: 16, min_new_tokens: 2, temperature: 0.7, top_k: 50, top_p: 0.95, completions_per_prompt: 2}
kl: {kl_coef: 0.2, kl_target: 0.05}
optimizer: {learning_rate: 1e-5, betas: [0.9, 0.95], eps: 1e-8, max_grad_norm: 1, micro_batch_size: 4}
training: {iterations: 7, prompts_per_iteration: 8}
evaluation: {every: 2, split: test, metrics: [diversity, {name: rouge, stemmer: false}], generation: {num_beams: 2, max_new_tokens: 9}}
checkpoint: {every: 3, keep_last: 1, best: eval/reward, best_mode: max}
tracking: {report_to: [tensorboard], project: fuzz, progress: false}
push_to_hub: null
"""
TASK = """\
task: {name: imdb, edition: mini, seed: 1, train_size: 40, validation_size: 20, test_size: 10}
supervised: {max_steps: 3, warmup_steps: 1, weight_decay: 0.1, gradient_accumulation_steps: 2, max_target_tokens: 9}
algorithm: {name: ppo, clip_range: 0.1, clip_range_vf: 0.2, vf_coef: 0, ent_coef: 0.01, gamma: 0.99, gae_lambda: 0.9, minibatch_size: 4}
reward: {name: increasing_numbers, min_tokens: 3}
reward_faults: {exception: error, non_finite: mask, max_skipped: 2}
rollout: {batch_size: 7, max_new_tokens: 20}
optimizer: {lr_scheduler_type: constant_with_warmup, warmup_iterations: 2, weight_decay: 0.1, value_learning_rate: 1e-3}
training: {iterations: 5, prompts_per_iteration: 3}
evaluation: {every: 2, prompts: 5, samples: 1, generation: {completions_per_prompt: 2, temperature: 0}}
"""
BASES = [FULL, TASK, *(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yaml")))]


@dataclass(frozen=True)
class Case:
    """A file and overrides.

    Attributes:
        kind: what was done to a good recipe.
        content: of the file.
        overrides: of the command line.
        block: the block of the recipe that must be named where the case is refused; None where that cannot be said.
    """

    kind: str
    content: bytes
    overrides: tuple[str, ...] = ()
    block: str | None = None


# --- what is put in the place of a value
# --------------------------------------------------------------------------------------------------

WORDS = st.text("abcxyz_-.0189 é", max_size=8)
OTHER_TYPES = [
    "null",
    "true",
    "no",
    "~",
    "''",
    "[]",
    "{}",
    "[1, 2]",
    "{a: 1}",
    "[[]]",
    "x",
    "-1",
    "0",
    "1.5",
    "'7'",
    "1_000",
    "+3",
]
NOT_FINITE = [".nan", ".inf", "-.INF", "1e999", "-1e999", "NaN", "inf", "1e-999", "1e", "0x"]
LARGE = ["-" + "1" * 5000, "0x" + "f" * 4000, str(2**63), str(2**63 - 1), "9" * 400 + ".0"]
DATES = [
    "2024-01-01",
    "2024-01-01T00:00:00Z",
    "12:30:45",
    "190:20:30",
    "1:00",
    "0o17",
    "017",
    "08",
    "0b11",
    "0xg",
    "1,5",
]
ODD = [r'"\ud800"', r'"\0"', r'"\x85\u2028"', r'"\n\r\t"', '"\u202e\u200b"', '"\U0001f600"', r'"\q"', '"']
VARIABLES = ["'${HOME}'", "'${x}'", "'${'", "'$'"]
TAGS = [
    "!!python/object/apply:os.system ['true']",
    "!!python/name:os.system",
    "!!python/object/new:os.system [x]",
    "!!int '3'",
]
TAGS += ["!!set {a}", "!!binary aGk=", "!x y", "!<tag:yaml.org,2002:str> x"]
ANCHORS = ["&a 1", "*a", "&a [*a]", "&a {b: *a}", "{<<: *a}", "{<<: {seed: 1}}", "&a", "*", "&"]
KEYS = ["{1: 2}", "{null: 1}", "{true: x}", "{[a]: 1}", "{{a: b}: 1}", "{? : 1}", "{1.5: 2, a: 1}", "{'': 1}", "{: 1}"]
NESTED = [("[", ""), ("[", "]"), ("{a: ", ""), ("{a: ", "}"), ("- ", ""), ("? ", "")]
RAW = {
    "other types": st.one_of(st.sampled_from(OTHER_TYPES), st.integers(-3, 300).map(str), WORDS.map(json.dumps)),
    "numbers that are none": st.sampled_from(NOT_FINITE),
    "large integers": st.integers(2, 5000).map(lambda n: "9" * n) | st.sampled_from(LARGE),
    "dates and old numbers": st.sampled_from(DATES),
    "long texts": st.integers(3, 17).map(lambda n: "'" + "ab" * 2**n + "'"),
    "odd texts": st.sampled_from(ODD + VARIABLES)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12).map(json.dumps),
    "tags": st.sampled_from(TAGS),
    "anchors and aliases": st.sampled_from(ANCHORS),
    "deep nesting": st.builds(
        lambda pair, n: pair[0] * n + pair[1] * n, st.sampled_from(NESTED), st.integers(1, 10_000)
    ),
    "keys that are no text": st.sampled_from(KEYS),
}
_HOLE = "a-hole-in-the-recipe"


def paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Key paths of every value below the root."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from paths(value, (*path, key))


def replaced(tree: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """A copy of the tree after `change(container, key)` at `path`."""
    tree = json.loads(json.dumps(tree))
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return tree


def leaf(tree: Any, path: tuple[Any, ...]) -> Any:
    """The value at `path`."""
    for key in path:
        tree = tree[key]
    return tree


@st.composite
def values(draw: Any, kind: str) -> Case:
    """Some value of a recipe is something else."""
    tree = yaml.safe_load(draw(st.sampled_from(BASES)))
    path = draw(st.sampled_from(list(paths(tree))))
    holed = replaced(tree, path, lambda inner, key: inner.__setitem__(key, _HOLE))
    raw = draw(RAW[kind])
    text = yaml.safe_dump(holed, sort_keys=False, default_flow_style=draw(st.sampled_from([False, None])))
    return Case(
        kind,
        text.replace(_HOLE, raw).encode(errors="surrogatepass"),
        block=str(path[0]) if kind == "other types" else None,
    )


LIKE = {
    bool: st.booleans(),
    int: st.integers(1, 60),
    float: st.floats(0.01, 1).map(lambda number: round(number, 3)),
    str: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0$"), max_size=9),
}


@st.composite
def plausible(draw: Any) -> Case:
    """Values are others of their own types."""
    tree = yaml.safe_load(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from([path for path in paths(tree) if path[-1] not in ("name", "key", "train", "path")]))
        replaced_by = [LIKE[type(value)] for value in (leaf(tree, path),) if type(value) in LIKE]
        if replaced_by:
            value = draw(replaced_by[0])
            tree = replaced(tree, path, lambda inner, key, value=value: inner.__setitem__(key, value))
    return Case("plausible values", yaml.safe_dump(tree, sort_keys=draw(st.booleans()), allow_unicode=True).encode())


@st.composite
def overridden(draw: Any) -> Case:
    """A good recipe, and a bad override."""
    text = draw(st.sampled_from(BASES))
    path = draw(st.sampled_from(list(paths(yaml.safe_load(text)))))
    key = ".".join(map(str, path))
    others = [key + "s", key + ".x", key + ".0", key.upper(), key + ".", "." + key, key.replace(".", ".."), "x", ""]
    key = draw(st.sampled_from([key] * 6 + others))
    raw = draw(st.one_of(*(RAW[kind] for kind in sorted(RAW))))
    forms = [f"{key} = {raw}", f"{key}", f"{key}=", f"{key}: {raw}", f"{key}=={raw}"]
    override = draw(st.sampled_from([f"{key}={raw}"] * 5 + forms))
    return Case("overrides", text.encode(), (override.lstrip("-"),))


@st.composite
def keys(draw: Any) -> Case:
    """Keys that nobody knows, or that are missing."""
    tree = yaml.safe_load(draw(st.sampled_from(BASES)))
    path = draw(st.sampled_from([path for path in paths(tree) if isinstance(path[-1], str)]))
    typo = draw(st.sampled_from(["s", "_", " ", "x", "é", "\u200b", "'", ": ", "#", "\n"]))

    def rename(inner: Any, key: Any) -> None:
        inner[key + typo] = inner.pop(key)

    tree = replaced(tree, path, draw(st.sampled_from([rename, lambda inner, key: inner.pop(key)])))
    return Case("unknown and missing keys", yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode())


# --- what is done to the text
# -------------------------------------------------------------------------------------------------------------


ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1", "utf-7", "cp037"]
JUNK = [b"\0", b"\xff", b"\x1b[31m", b"\x7f", b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80"]
MARKS = ["---", "...", "---\n---", "--- x", "%YAML 1.1\n---", "%YAML 3.0\n---", "%TAG ! x\n---", "...\n---"]
NO_MAPPING = [b"", b"\n", b"# nothing\n", *b"null [] {} 5 text ? - | ' {".split(), b"- a", b": ", b"\xff" * 2000]
NO_MAPPING += [b"#" * 2**20 + b"\n", b"a: b\n" * 2**17, b"[" * 10**6]
MUCH = [
    "k{}: 1\n",
    "seed: [1, 2, 3]\n",
    "? - ",
    "name: |\n a\n",
    "%A b\n",
    "\r",
    "'' ",
    "{{a ",
    "- ",
    ": ",
    "[1, ",
    "$",
    '"\\u0041',
    "#x\n",
    "a\n  ",
]


def bomb(depth: int) -> list[str]:
    """Nine aliases of nine aliases, and so on: 9 to the power of `depth` texts."""
    return ["a0: &a0 [" + "lol, " * 9 + "]", *(f"a{i}: &a{i} [" + f"*a{i - 1}, " * 9 + "]" for i in range(1, depth))]


@st.composite
def texts(draw: Any, kind: str) -> Case:
    """The file itself is damaged."""
    text = draw(st.sampled_from(BASES))
    lines, content = text.splitlines(), text.encode()
    at, line = draw(st.integers(0, len(content))), draw(st.integers(0, len(lines) - 1))
    old = lines[line]
    tabs = ["\t" + old, old.replace(": ", ":\t"), old.replace(" ", "\t"), "  " + old, old.replace(": ", ":")]
    if kind == "duplicate keys":
        content = "\n".join([*lines, old, "seed: 1", "seed: 2"]).encode()
    elif kind == "other encodings":
        content = (text + "output_dir: caf\u00e9\n").encode(draw(st.sampled_from(ENCODINGS)))
    elif kind == "bytes that are no text":
        content = content[:at] + draw(st.binary(min_size=1, max_size=40) | st.sampled_from(JUNK)) + content[at:]
    elif kind == "tabs and spaces":
        content = "\n".join([*lines[:line], draw(st.sampled_from(tabs)), *lines[line + 1 :]]).encode()
    elif kind == "cut off":
        content = content[:at]
    elif kind == "several documents":
        mark = draw(st.sampled_from(MARKS)).encode() + b"\n"
        content = draw(st.sampled_from([content + mark + content, mark + content, content + mark, mark]))
    elif kind == "alias bombs":
        bombs = "\n".join(bomb(draw(st.integers(1, 30)))).encode() + b"\n"
        content = draw(st.sampled_from([bombs + content, content + bombs]))
    elif kind == "too much":
        unit = draw(st.sampled_from(MUCH))
        much = "".join(unit.format(i) for i in range(draw(st.integers(1, 2**20)) // len(unit))).encode()
        content = draw(st.sampled_from([much, content + much, b"model: " + much, b"model: [" + much]))
    elif kind == "no mapping":
        content = draw(st.sampled_from(NO_MAPPING))
    return Case(kind, content)


TEXTS = [
    "duplicate keys",
    "other encodings",
    "bytes that are no text",
    "tabs and spaces",
    "cut off",
    "several documents",
    "alias bombs",
]
TEXTS += ["too much", "no mapping"]
untouched = st.sampled_from(BASES).map(lambda text: Case("untouched", text.encode()))
KINDS = {
    "untouched": untouched,
    "plausible values": plausible(),
    "unknown and missing keys": keys(),
    "overrides": overridden(),
}
KINDS |= {kind: values(kind) for kind in RAW} | {kind: texts(kind) for kind in TEXTS}
CASES = st.sampled_from([*KINDS, *["plausible values"] * 5, *["overrides"] * 3]).flatmap(KINDS.__getitem__)


# --- what must be true
# --------------------------------------------------------------------------------------------------------------------

counts: Counter[tuple[str, str]] = Counter()


def check(case: Case, folder: Path) -> None:
    path = folder / "r.yaml"
    path.write_bytes(case.content)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    result = CliRunner().invoke(app, ["train", str(path), *case.overrides, "--dry-run"])
    assert time.monotonic() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    recipe = read(path, case.overrides)
    if isinstance(recipe, ConfigError):
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"error: {recipe}\n")
        check_message(str(recipe), path, case)
        counts[case.kind, "refused"] += 1
        return
    check_dump(recipe, folder)
    if result.exit_code == 0:
        (folder / "printed.yaml").write_text(result.stdout, encoding="utf-8")
        assert read(folder / "printed.yaml") == recipe  # what a dry run prints is the recipe
        counts[case.kind, "accepted"] += 1
    else:  # a recipe, but its data or its task is not there
        assert (result.exit_code, result.stdout) == (2, "")
        assert re.fullmatch(r"error: [^\n]+\n", result.stderr), result.stderr
        counts[case.kind, "accepted, data missing"] += 1


def read(path: Path, overrides: tuple[str, ...] = ()) -> Recipe | ConfigError:
    try:
        return read_recipe(path, overrides)
    except ConfigError as error:
        return error


def check_message(message: str, path: Path, case: Case) -> None:
    """`file:line: key: reason`, `override key=value: key: reason`, or `file: reason` where there is no line; always one
    line.
    """
    assert len(message.splitlines()) == 1, message
    assert message.isprintable(), message
    assert len(message) < 2000, len(message)
    assert "Traceback" not in message
    places = [re.escape(str(path)) + r"(:[1-9][0-9]*)?: ", r"defaults of task '\w+': "]
    named = [re.match(r"[\w.]{0,50}", override) for override in case.overrides]
    places += [re.escape(f"override {name[0] if name else ''}") + ".*: " for name in named]
    assert re.match("|".join(places), message), message
    if case.block not in (None, "task"):  # without its task, a recipe may lack anything
        # Which takes from `rollout` what it leaves unsaid
        assert case.block in message or "evaluation.generation" in message, message


def check_dump(recipe: Recipe, folder: Path) -> None:
    text = dump_recipe(recipe)
    (folder / "dumped.yaml").write_bytes(text.encode())
    again = read(folder / "dumped.yaml")
    assert isinstance(again, Recipe)
    assert again == recipe
    assert dump_recipe(again) == text


def fuzz(examples: int, folder: Path) -> None:
    CliRunner().invoke(app, ["train", "imdb-mini-ppo", "--dry-run"])  # what is imported now costs no case its memory

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(CASES)
    def cases(case: Case) -> None:
        check(case, folder)

    cases()


def test_ten_cases(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fuzz(10, tmp_path)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_thousand_cases(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    counts.clear()
    start = time.monotonic()
    fuzz(1000, tmp_path)
    outcomes = ["accepted", "accepted, data missing", "refused"]
    kinds = sorted({kind for kind, _ in counts})
    with capsys.disabled():
        print(f"\n\n{'kind':<28}" + "".join(f"{outcome:>24}" for outcome in outcomes))
        for kind in kinds:
            print(f"{kind:<28}" + "".join(f"{counts[kind, outcome]:>24}" for outcome in outcomes))
        print(f"{'all':<28}" + "".join(f"{sum(counts[kind, outcome] for kind in kinds):>24}" for outcome in outcomes))
        print(
            f"{sum(counts.values())} cases, {time.monotonic() - start:.0f} s, every refusal one message and exit code 2"
        )
    assert sum(counts.values()) >= 1000
    assert {kind for kind, _ in counts} == KINDS.keys()
    assert all(counts[kind, "refused"] for kind in kinds if kind != "untouched")
    assert sum(counts[kind, "accepted"] for kind in kinds) >= 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a0: &a [x]\na1: &b [*a, *a]\n", "r.yaml:1: a0: anchors (`&name`) are not allowed"),
        (b"model: !!python/object/apply:os.system ['touch made']\n", "r.yaml:1: model: tags (`!name`) are not allowed"),
        (b"seed: " + b"9" * 5000 + b"\n", "r.yaml:1: seed: an integer of 5000 characters does not fit in 64 bits"),
        ("seed: 1\n".encode("utf-16"), "r.yaml:1: the file is saved with UTF-16; save it as plain UTF-8"),
    ],
    ids=["bomb", "tag", "digits", "UTF-16"],
)
def test_in_a_process_of_its_own(tmp_path, content, message):
    (tmp_path / "r.yaml").write_bytes(content)
    command = [sys.executable, "-m", "rl4lms", "train", "r.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["r.yaml"]
