"""The tracer of `scripts/reading_cost.py` on a package whose cost is known."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "reading_cost.py"

LOOP = '''\
import contextlib
import torch
from fake_package.core.maths import double
from fake_package.update import Update


def unused():
    return 1


def step():
    """Six lines."""
    def inner():
        return [double(x) for x in range(3)]
    inner()
    return Update(torch.zeros(1)).run()
'''
UPDATE = """\
import torch


class Update:
    def __init__(self, value):
        self.optimizer = torch.optim.SGD([value.requires_grad_()], lr=0.1)

    @torch.enable_grad()
    def run(self):
        self.optimizer.step()
        return self.after()

    def after(self):
        return "done"
"""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("reading_cost", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["reading_cost"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["reading_cost"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "fake_package"
    (root / "core").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "core" / "__init__.py").write_text("")
    (root / "core" / "maths.py").write_text("def double(x):\n    return 2 * x\n")
    (root / "loop.py").write_text(LOOP)
    (root / "update.py").write_text(UPDATE)
    monkeypatch.syspath_prepend(tmp_path)
    yield root
    for name in [name for name in sys.modules if name.startswith("fake_package")]:
        del sys.modules[name]


def run():
    from fake_package.loop import step

    return step()


def test_functions_up_to_the_optimiser_step_are_counted_once(script, package):
    files = script.costs(script.trace(run, package), package)
    found = [(file.path, file.lines, file.whole) for file in files]
    assert found == [("loop.py", 6, 16), ("update.py", 6, 14), ("core/maths.py", 2, 2)]
    assert files[0].functions == (("step", 6), ("step.inner", 2))  # the nested one is part of the six lines
    # with its decorator; `after` comes too late
    assert files[1].functions == (("Update.__init__", 2), ("Update.run", 4))


def test_the_rl_part_is_what_the_most_specific_entry_says(script, package):
    files = script.costs(script.trace(run, package), package)
    names = lambda rl, elsewhere: [file.path for file in script.rl_part(files, rl, elsewhere)]  # noqa: E731
    assert names(("loop.py", "core"), {"update.py": ""}) == ["loop.py", "core/maths.py"]
    assert names(("loop.py", "core/maths.py"), {"update.py": "", "core": ""}) == ["loop.py", "core/maths.py"]
    assert names(("loop.py", "core"), {"update.py": "", "core/maths.py": ""}) == ["loop.py"]


def test_a_file_that_nobody_thought_about_is_an_error(script, package):
    files = script.costs(script.trace(run, package), package)
    with pytest.raises(ValueError, match=r"what these are: core/maths\.py"):
        script.rl_part(files, ("loop.py",), {"update.py": "", "cor": "", "maths.py": "", "core/maths": ""})


def test_the_report_names_everything_that_ran(script, package):
    files = script.costs(script.trace(run, package), package)
    part = script.rl_part(files, ("loop.py", "core"), {"update.py": "steps"})
    assert script.report(files, part, {"update.py": "steps"}, 7).splitlines() == [
        "everything:",
        "loop.py  6 lines (of 16)",
        "       6  step",
        "       2  step.inner",
        "update.py  6 lines (of 14)",
        "       2  Update.__init__",
        "       4  Update.run",
        "core/maths.py  2 lines (of 2)",
        "       2  double",
        "the RL part:",
        "       6  loop.py",
        "       2  core/maths.py",
        "not the RL part:",
        "       6  update.py: steps",
        "everything: 3 files, 14 lines of functions (whole files: 32)",
        "the RL part: 2 files, 8 lines of functions (whole files: 18); at most 14 files, 1115 lines",
        "the stand-alone file: 7 lines; at most 300",
    ]


@pytest.mark.parametrize(("limit", "value"), [("RL_FILES", 3), ("RL_LINES", 14), ("STAND_ALONE_LINES", 7)])
def test_each_limit_counts(script, package, monkeypatch, limit, value):
    files = script.costs(script.trace(run, package), package)
    monkeypatch.setattr(script, limit, value)
    assert script.status(files, 7) == 0
    monkeypatch.setattr(script, limit, value - 1)
    assert script.status(files, 7) == 1


def test_main_prints_the_figures_of_the_library_and_fails_above_a_limit(script, capsys, monkeypatch):
    monkeypatch.setattr(script, "RL_FILES", 1000)
    monkeypatch.setattr(script, "RL_LINES", 100_000)
    assert script.main() == 0
    text = capsys.readouterr().out
    rl = text[text.index("\nthe RL part:") : text.index("\nnot the RL part:")]
    for path in ("algorithms/ppo.py", "training/loop.py", "core/sampling.py", "models/generate.py"):
        assert path in rl
    assert re.search(r"^      +\d+  Loop\.step$", text, re.MULTILINE)
    assert "models/families.py: how" in text
    monkeypatch.setattr(script, "STAND_ALONE_LINES", 100)
    assert script.main() == 1


def test_a_step_without_optimiser_is_an_error_and_tracing_ends(script, package):
    with pytest.raises(RuntimeError, match="no optimiser step"):
        script.trace(lambda: None, package)
    assert sys.getprofile() is None
    with pytest.raises(ZeroDivisionError):
        script.trace(lambda: 1 / 0, package)
    assert sys.getprofile() is None
