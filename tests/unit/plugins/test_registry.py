from __future__ import annotations

import importlib.metadata
import sys
from typing import Any

import pytest

import rl4lms
from rl4lms.errors import ConfigError, MissingExtraError, UnknownNameError
from rl4lms.plugins import registry
from rl4lms.plugins.registry import Entry, Registry


@pytest.fixture
def rewards() -> Registry:
    return Registry(
        "reward", "rl4lms.test_rewards", {"length": Entry("length", "reward", "textwrap:fill", summary="builtin")}
    )


def short(completions, **columns):
    """Short texts.

    More about it.
    """
    return [-len(c) for c in completions]


def other(completions, **columns):
    return [0.0 for _ in completions]


def test_decorator_returns_the_function_and_names_it(rewards):
    assert rewards.register("short")(short) is short
    assert rewards.get("short") is short
    assert rewards.entry("short").summary == "Short texts."
    assert rewards.origin("short") == f"{short.__module__}:short"
    assert rewards.name_of(short) == "short"
    assert rewards.name_of(other) is None
    assert rewards.names() == ["length", "short"]
    assert "short" in rewards
    assert "shrt" not in rewards


def test_lazy_targets_are_imported_on_use(rewards):
    import textwrap

    assert rewards.get("length") is textwrap.fill
    assert rewards.origin("length") == "textwrap:fill"


def test_the_same_function_again_replaces_and_another_is_refused(rewards):
    rewards.register("short", short)
    rewards.register("short", short, summary="again")
    assert rewards.entry("short").summary == "again"
    with pytest.raises(ConfigError, match=r"the reward name 'short' is taken by .*:short; choose another name"):
        rewards.register("short", other)
    with pytest.raises(ConfigError, match="'length' is taken by textwrap:fill"):
        rewards.register("length", other)
    assert rewards.get("short") is short


@pytest.mark.parametrize("name", ["", "a b", "a/b", "path.py:fn", "1st", "a\n"])
def test_malformed_names_are_refused(rewards, name):
    with pytest.raises(ConfigError, match="cannot name a reward"):
        rewards.register(name, short)


def test_unknown_names_suggest_the_nearest(rewards):
    with pytest.raises(UnknownNameError, match=r"^unknown reward 'lenght'; did you mean 'length'\?$"):
        rewards.get("lenght")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("textwrap:nothing", "has no attribute 'nothing'"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("textwrap:fill.deeper", "has no attribute 'deeper'"),
    ],
)
def test_broken_lazy_targets_say_what_was_tried(rewards, target, reason):
    rewards.register("broken", target)
    with pytest.raises(ConfigError, match=f"reward 'broken' cannot be loaded from {target}: .*{reason}"):
        rewards.get("broken")


def test_a_missing_extra_is_reported_as_such(rewards, tmp_path, monkeypatch):
    (tmp_path / "needs_extra.py").write_text(
        "from rl4lms.errors import MissingExtraError\nraise MissingExtraError('peft', 'peft')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    rewards.register("extra", "needs_extra:f")
    with pytest.raises(MissingExtraError, match=r'pip install "rl4lms\[peft\]"'):
        rewards.get("extra")


def _announce(monkeypatch, *points: tuple[str, str]) -> None:
    announced = [importlib.metadata.EntryPoint(name, value, "rl4lms.test_rewards") for name, value in points]
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [point for point in announced if point.group == group]
    )


def test_entry_points_are_found_by_name(rewards, monkeypatch):
    import textwrap

    # The same one may be listed twice
    _announce(monkeypatch, ("theirs", "textwrap:shorten"), ("theirs", "textwrap:shorten"))
    assert rewards.names() == ["length", "theirs"]
    assert "theirs" in rewards
    assert rewards.get("theirs") is textwrap.shorten


def test_an_entry_point_whose_module_registers_itself_is_one_component(rewards, monkeypatch, tmp_path):
    (tmp_path / "their_package.py").write_text(
        "def f(completions): return [0.0]\n"
        "import sys; sys.modules['registry_under_test'].rewards.register('theirs', f, summary='by itself')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    stub = type(sys)("registry_under_test")
    stub.rewards = rewards
    monkeypatch.setitem(sys.modules, "registry_under_test", stub)
    _announce(monkeypatch, ("theirs", "their_package:f"))
    assert rewards.entry("theirs").summary == "by itself"
    assert rewards.get("theirs").__module__ == "their_package"


@pytest.mark.parametrize("kind", ["rewards", "metrics", "tasks", "algorithms"])
def test_every_kind_has_entry_points(kind, monkeypatch):
    point = importlib.metadata.EntryPoint("theirs", "textwrap:TextWrapper", f"rl4lms.{kind}")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == point.group else [])
    shared = getattr(registry, kind)
    found = Registry(shared.kind, shared.group, {})
    assert found.names() == ["theirs"]
    assert found.get("theirs").__name__ == "TextWrapper"


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (
            [("twice", "textwrap:fill"), ("twice", "textwrap:wrap")],
            "claimed by several packages: textwrap:fill, textwrap:wrap",
        ),
        ([("length", "textwrap:wrap")], "'length' is taken by textwrap:fill"),
        ([("gone", "no_such_module:f")], "cannot be loaded from no_such_module:f"),
    ],
)
def test_conflicting_or_broken_entry_points_are_refused(rewards, monkeypatch, points, reason):
    _announce(monkeypatch, *points)
    with pytest.raises(ConfigError, match=reason):
        rewards.get(points[0][0])


def test_origin_of_code_that_is_no_module_is_file_and_line(rewards):
    namespace = {"__name__": "__main__"}
    exec(compile("\n\ndef f(completions): return []\n", "notebook-cell", "exec"), namespace)
    rewards.register("cell", namespace["f"])
    assert rewards.origin("cell") == "notebook-cell:3"


def test_loadable_names_only_functions_that_a_file_can_give_back():
    assert registry.loadable(short) == f"{short.__code__.co_filename}:short"
    assert registry.loadable(lambda completions: []).endswith("<lambda>")
    cell: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("def typed(completions): ...", "/tmp/ipykernel_1/2.py", "exec"), cell)  # as ipykernel does
    assert registry.loadable(cell["typed"]) == "__main__:typed"
    assert registry.loadable(Entry) == "rl4lms.plugins.registry:Entry"


def test_public_decorators_use_the_library_registries():
    assert rl4lms.reward == registry.rewards.register
    assert rl4lms.metric == registry.metrics.register
    assert rl4lms.task == registry.tasks.register
    assert rl4lms.algorithm == registry.algorithms.register


def test_public_names_resolve_and_unknown_ones_do_not():
    assert rl4lms.Sample("0", "a prompt").references == ()
    assert {"train", "reward", "metric", "Rollout"} <= set(dir(rl4lms))
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        rl4lms.trian
