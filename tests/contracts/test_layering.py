"""The architecture, checked on the syntax tree: imports run one way, importing is cheap, files stay small, nothing
unsafe is called.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rl4lms

PACKAGE = Path(rl4lms.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

# A module may import its own layer and the layers above it in this list. The package itself may import anything: its
# exports are lazy.
LAYERS = [
    {"types", "errors", "stats", "log_keys", "recipes"},
    {"plugins"},
    {"config"},
    {"core", "reporting", "distributed"},
    {"data", "models"},
    {"rollout"},
    {"metrics"},
    {"rewards", "tasks"},
    {"algorithms", "mdp"},  # the environment calls rewards as the loop does; nothing imports it
    {"evaluation"},
    {"runs"},
    {"supervised"},
    {"training"},
    {"api"},
    {"checks"},
    {"grue"},
    {"studies", "human_eval", "integrations"},
    {"cli"},
]
# The same layer, but one way: tasks name rewards by registry name and import neither rewards nor metrics; algorithms
# know no tasks.
FORBIDDEN = {
    "tasks": {"rewards", "metrics", "models", "rollout", "mdp"},
    "rewards": {"tasks"},
    "algorithms": {"tasks", "rewards", "metrics"},
}
NO_TORCH = {"types", "errors", "stats", "log_keys", "recipes", "plugins", "config", "data", "tasks", "reporting"}

# path: why it may be longer than 400 lines
LONG_FILES: dict[str, str] = {
    "types.py": "the data that flows, in one place; most of it says what shapes and units are",
    "supervised/reward_model.py": "from the data to the saved model, in the order it happens",
}
# path:function: why it may be longer than 80 lines
LONG_FUNCTIONS: dict[str, str] = {
    "cli/human.py:create": "the options of the command, each with its help, and one call",
    "cli/train.py:train": "the options of the command, each with its help, and one call",
    "cli/reward.py:train": "the options of the command, each with its help, and one call",
    "supervised/reward_model.py:train_reward_model": "a third is its signature and what its arguments mean",
}

LAYER_OF = {name: index for index, layer in enumerate(LAYERS) for name in layer}


def part_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def parse(module: Path) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def imports(tree: ast.AST, module: Path) -> Iterator[tuple[str, int]]:
    """Every imported name with its line: at the top, inside functions and under TYPE_CHECKING."""
    package = ["rl4lms", *module.with_suffix("").parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) + "." if node.level else ""
            source = (base + (node.module or "")).rstrip(".")
            for alias in node.names:
                yield f"{source}.{alias.name}", node.lineno


def top_level_imports(tree: ast.Module, module: Path) -> Iterator[tuple[str, int]]:
    """Imports that run when the module is imported: not inside functions, not under TYPE_CHECKING."""
    nodes = list(tree.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(ast.Module([node], []), module)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler)]


def own_part(name: str) -> str | None:
    """`models` for `rl4lms.models.policy.Policy`; None for other packages and for the package itself."""
    parts = name.split(".")
    return parts[1] if parts[0] == "rl4lms" and len(parts) > 1 and parts[1] in LAYER_OF else None


def test_every_part_has_a_layer():
    parts = {part_of(module) for module in MODULES} - {"__init__", "__main__"}
    parts = {part for part in parts if (PACKAGE / f"{part}.py").exists() or any(m.parts[0] == part for m in MODULES)}
    assert parts <= LAYER_OF.keys(), f"add {parts - LAYER_OF.keys()} to LAYERS"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_run_one_way(module):
    part = part_of(module)
    if part in ("__init__", "__main__"):
        return
    wrong = []
    for name, line in imports(parse(module), module):
        other = own_part(name)
        if other is None or other == part:
            continue
        if LAYER_OF[other] > LAYER_OF[part] or other in FORBIDDEN.get(part, ()):
            wrong.append(f"{module}:{line} imports {name}: {part} must not know {other}")
    assert not wrong, "\n".join(wrong)


def test_no_two_files_import_each_other():
    """Not directly, and not through others: at the top, inside functions, or for type checkers only."""
    files = {("rl4lms." + ".".join(m.with_suffix("").parts)).removesuffix(".__init__"): m for m in MODULES}
    graph: dict[str, set[str]] = {name: set() for name in files}
    for name, module in files.items():
        if module.name in ("__init__.py", "__main__.py") and len(module.parts) == 1:
            continue  # lazy exports
        for imported, _ in imports(parse(module), module):
            target = next((t for t in (imported, imported.rpartition(".")[0]) if t in files and t != name), None)
            if target is not None and not name.startswith(f"{target}."):  # a package is there before what is in it
                graph[name].add(target)
    circles = sorted({tuple(sorted(circle)) for circle in _circles(graph)})
    assert not circles, "\n".join(" <-> ".join(circle) for circle in circles)


def _circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Strongly connected components of more than one node (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> Iterator[list[str]]:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                yield from visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while not component or component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                yield component

    for node in sorted(graph):
        if node not in index:
            yield from visit(node)


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) in NO_TORCH], ids=str)
def test_light_parts_import_no_heavy_package(module):
    heavy = {"torch", "transformers", "datasets", "accelerate", "safetensors", "tokenizers"}
    wrong = [
        f"{module}:{line} imports {name}"
        for name, line in top_level_imports(parse(module), module)
        if name.split(".")[0] in heavy
    ]
    assert not wrong, "\n".join(wrong)


def test_the_trainer_is_imported_where_something_is_trained():
    """It takes a second, which no run without a warm start should."""
    wrong = [
        f"{module}:{line}"
        for module in MODULES
        for name, line in top_level_imports(parse(module), module)
        if name.startswith("rl4lms.supervised.trainer") or name == "transformers.Trainer"
    ]
    assert [place.partition(":")[0] for place in wrong] == ["supervised/trainer.py"]


LIGHT = ("", ".config", ".plugins", ".plugins.registry", ".plugins.building", ".stats", ".types")


def test_light_modules_load_no_torch():
    """One after the other in one process: none of them has loaded what the last does not find."""
    lines = [
        f"import rl4lms{module}; print(sorted({{'torch', 'transformers', 'datasets'}} & sys.modules.keys()))"
        for module in LIGHT
    ]
    code = "\n".join(["import sys", *lines])
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.split() == ["[]"] * len(LIGHT)


def test_public_names_are_declared_once_and_lazily():
    assert set(rl4lms._LAZY) | {"__version__"} == set(rl4lms.__all__)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_files_and_functions_are_short(module):
    text = (PACKAGE / module).read_text(encoding="utf-8")
    lines = text.count("\n")
    assert lines <= 400 or str(module) in LONG_FILES, (
        f"{module} has {lines} lines: split it, or give a reason in LONG_FILES"
    )
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            name = f"{module}:{node.name}"
            assert length <= 80 or name in LONG_FUNCTIONS, (
                f"{name} has {length} lines: split it, or give a reason in LONG_FUNCTIONS"
            )


def test_exceptions_to_the_lengths_are_still_needed():
    assert {name for name in LONG_FILES if (PACKAGE / name).exists()} == LONG_FILES.keys()
    functions = {
        f"{m}:{node.name}" for m in MODULES for node in ast.walk(parse(m)) if isinstance(node, ast.FunctionDef)
    }
    assert LONG_FUNCTIONS.keys() <= functions


def catch_alls(tree: ast.AST, module: Path) -> Iterator[str]:
    for node in ast.walk(tree):
        catches_all = isinstance(node, ast.ExceptHandler) and (
            node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
        )
        last = node.body[-1] if catches_all else None
        # Tidying up and raising on is fine; so is naming what failed with the cause attached, or raising where a future
        # is waited for.
        raises = isinstance(last, ast.Raise) and (last.exc is None or last.cause is not None)
        hands_on = (
            isinstance(last, ast.Expr) and ast.unparse(last).endswith(f".set_exception({node.name})")
            if catches_all
            else False
        )
        if catches_all and not raises and not hands_on:
            yield f"{module}:{node.lineno} catches everything"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_nothing_is_swallowed(module):
    assert not list(catch_alls(parse(module), module))


def test_the_checks_themselves_see_what_they_should():
    here = Path("algorithms/ppo.py")
    tree = ast.parse(
        "from typing import TYPE_CHECKING\nimport torch.nn as nn\nfrom rl4lms import tasks\nfrom ..metrics import "
        "rouge\n"
        "if TYPE_CHECKING:\n    import transformers\ndef f():\n    from rl4lms.cli import main\n    import datasets\n"
        "try:\n    import scipy\nexcept Exception:\n    import accelerate\n"
        "try:\n    work()\nexcept BaseException as error:\n    future.set_exception(error)\n"
    )
    assert {own_part(name) for name, _ in imports(tree, here)} == {None, "tasks", "metrics", "cli"}
    top = {name.split(".")[0] for name, _ in top_level_imports(tree, here)}
    assert top == {"typing", "torch", "rl4lms", "scipy", "accelerate"}
    assert list(catch_alls(tree, here)) == ["algorithms/ppo.py:12 catches everything"]
