"""The tracer of `scripts/reading_cost.py` on a package whose cost is known."""

from __future__ import annotations

import importlib.util
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
    files = script.costs(script.trace(run, package), package, {"core": "leaves"})
    assert [(file.path, file.lines, file.whole) for file in files] == [("loop.py", 6, 16), ("update.py", 6, 14)]
    assert files[0].functions == (("step", 6), ("step.inner", 2))  # the nested one is part of the six lines
    assert files[1].functions == (("Update.__init__", 2), ("Update.run", 4))  # with its decorator; `after` comes too late


def test_leaves_are_counted_unless_excluded(script, package):
    files = script.costs(script.trace(run, package), package, {})
    assert [file.path for file in files] == ["loop.py", "update.py", "core/maths.py"]
    assert [file.path for file in script.costs(script.trace(run, package), package, {"update.py": "", "cor": ""})] == [
        "loop.py",
        "core/maths.py",
    ]


def test_the_report_names_everything_and_the_status_follows_the_limits(script, package, capsys, monkeypatch):
    assert script.check(run, package, {"core": "leaves"}) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "loop.py  6 lines (of 16)",
        "       6  step",
        "       2  step.inner",
        "update.py  6 lines (of 14)",
        "       2  Update.__init__",
        "       4  Update.run",
        "not counted: core - leaves",
        "from loop.step() to optimizer.step(): 2 files, 12 lines (at most 4 and 600)",
    ]
    monkeypatch.setattr(script, "MAX_LINES", 11)
    assert script.check(run, package, {"core": "leaves"}) == 1
    monkeypatch.setattr(script, "MAX_LINES", 12)
    monkeypatch.setattr(script, "MAX_FILES", 1)
    assert script.check(run, package, {"core": "leaves"}) == 1


def test_a_step_without_optimiser_is_an_error_and_tracing_ends(script, package):
    with pytest.raises(RuntimeError, match="no optimiser step"):
        script.trace(lambda: None, package)
    assert sys.getprofile() is None
    with pytest.raises(ZeroDivisionError):
        script.trace(lambda: 1 / 0, package)
    assert sys.getprofile() is None
