"""Nothing in this repository runs code that comes with data or models: no pickle, no eval, no shell, no remote code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("src", "scripts", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
# The one place of the library that reads the weights of others; and what uses nothing of the library.
LOADING = Path("src/rl4lms/models/loading.py")
ADAPTERS = Path("src/rl4lms/models/adapter_folders.py")
STAND_ALONE = {
    Path("examples/ppo_single_file.py"),
    Path("benchmarks/peers/trl_ppo.py"),
    Path("benchmarks/peers/trl_grpo.py"),
}

MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "jsonpickle", "joblib", "marshal", "shelve"}
CALLS = {
    "eval",
    "exec",
    "__import__",
    "torch.load",
    "torch.serialization.load",
    "torch.jit.load",
    "torch.hub.load",
    "torch.package.PackageImporter",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.full_load_all",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
    "pandas.read_pickle",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
}
# Keyword: the only value that it may have.
KEYWORDS = {"trust_remote_code": "False", "shell": "False", "weights_only": "True", "use_safetensors": "True"}


def names(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: `import yaml as y` makes `y` stand for `yaml`."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def unsafe(tree: ast.AST, path: Path) -> Iterator[str]:
    """Lines with something unsafe, in the order of the syntax tree."""
    known = names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for module in modules:
                if module.split(".")[0] in MODULES:
                    yield f"{node.lineno}: imports {module}"
        elif isinstance(node, ast.Call):
            first, _, rest = ast.unparse(node.func).partition(".")
            called = ".".join(filter(None, (known.get(first, first), rest)))
            if called in CALLS or called.removeprefix("builtins.") in CALLS:
                yield f"{node.lineno}: calls {called}"
            if called.endswith(".from_pretrained"):
                yield from unsafe_reading(node, called.split(".")[-2], path)
            for keyword in node.keywords:
                yield from unsafe_option(node.lineno, keyword.arg, keyword.value, path)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield from unsafe_option(node.lineno, key.value, value, path)


def unsafe_reading(node: ast.Call, reader: str, path: Path) -> Iterator[str]:
    given = {keyword.arg for keyword in node.keywords}
    if reader in ("AutoConfig", "AutoTokenizer"):
        if "trust_remote_code" not in given:  # without it, transformers asks at a terminal
            yield f"{node.lineno}: {reader}.from_pretrained without trust_remote_code=False"
    elif reader == "PeftModel":
        if path != ADAPTERS:
            yield f"{node.lineno}: {reader}.from_pretrained; adapters are read by rl4lms.models.adapter_folders"
    elif reader == "GenerationConfig":
        return  # a JSON file, read as nothing else
    elif path not in {LOADING, *STAND_ALONE}:
        yield f"{node.lineno}: {reader}.from_pretrained; weights are read by rl4lms.models.loading.load_pretrained"
    elif not {"trust_remote_code", "use_safetensors"} <= given:
        yield f"{node.lineno}: {reader}.from_pretrained without trust_remote_code and use_safetensors"


def unsafe_option(line: int, name: str | None, value: ast.expr, path: Path) -> Iterator[str]:
    text = ast.unparse(value)
    if name in KEYWORDS and text != KEYWORDS[name] and not (name == "use_safetensors" and path == LOADING):
        yield f"{line}: {name}={text}"
    if name == "allow_pickle" and text == "True":
        yield f"{line}: allow_pickle=True"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_unsafe_is_done(path: Path) -> None:
    assert list(unsafe(ast.parse((ROOT / path).read_text(encoding="utf-8")), path)) == []


def test_everything_is_looked_at() -> None:
    assert {LOADING, ADAPTERS, *STAND_ALONE} <= set(FILES)
    assert {path.parts[0] for path in FILES} == {"src", "scripts", "examples", "benchmarks"}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import pickle", ["1: imports pickle"]),
        ("from _pickle import loads", ["1: imports _pickle"]),
        ("import joblib as j", ["1: imports joblib"]),
        ("def f():\n    import dill.source", ["2: imports dill.source"]),
        ("import torch as t\nt.load('x')", ["2: calls torch.load"]),
        ("from torch import load as read\nread('x')", ["2: calls torch.load"]),
        ("import torch.jit\ntorch.jit.load('x')", ["2: calls torch.jit.load"]),
        ("import yaml\nyaml.load(text, Loader=yaml.SafeLoader)", ["2: calls yaml.load"]),
        ("from yaml import unsafe_load\nunsafe_load(x)", ["2: calls yaml.unsafe_load"]),
        ("eval('1')", ["1: calls eval"]),
        ("import builtins\nbuiltins.exec('1')", ["2: calls builtins.exec"]),
        ("__import__('os')", ["1: calls __import__"]),
        ("from os import system\nsystem('ls')", ["2: calls os.system"]),
        ("import subprocess\nsubprocess.run('ls', shell=True)", ["2: shell=True"]),
        ("import subprocess\nsubprocess.run('ls', shell=flag)", ["2: shell=flag"]),
        ("run(**{'shell': True})", ["1: shell=True"]),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", ["2: allow_pickle=True"]),
        ("options = {'trust_remote_code': True}", ["1: trust_remote_code=True"]),
        ("f(trust_remote_code=config.trust)", ["1: trust_remote_code=config.trust"]),
        ("f(weights_only=False)", ["1: weights_only=False"]),
        ("AutoTokenizer.from_pretrained(path)", ["1: AutoTokenizer.from_pretrained without trust_remote_code=False"]),
        (
            "GPT2LMHeadModel.from_pretrained(path)",
            ["1: GPT2LMHeadModel.from_pretrained; weights are read by rl4lms.models.loading.load_pretrained"],
        ),
        ("model.eval()\ntorch.compile(f)\nyaml.safe_load(x)\nnp.load(x)\nast.literal_eval(x)  # eval(x)", []),
        ("AutoConfig.from_pretrained(path, trust_remote_code=False)\nsubprocess.run(['ls'], shell=False)", []),
        ("'''eval(x), import pickle'''", []),
    ],
)
def test_the_check_sees_what_it_should(code: str, found: list[str]) -> None:
    assert list(unsafe(ast.parse(code), Path("src/rl4lms/elsewhere.py"))) == found
