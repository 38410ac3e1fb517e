"""The grid of a benchmark: systems on tasks, with several seeds, and the recipe of each cell of it.

The six systems are those of Ramamurthy et al., ICLR 2023 (arXiv 2210.01241), section 5. Any other algorithm takes the
place of PPO in the same two roles: alone, or after a warm start.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rl4lms.config import recipe_from_dict
from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError, UnknownNameError, did_you_mean
from rl4lms.grue.judges import judged_by_reward
from rl4lms.plugins import registry
from rl4lms.tasks import build as build_task
from rl4lms.types import Task

#: The tasks of the paper; machine translation counts once.
TASKS = ("imdb", "commongen", "cnn_daily_mail", "totto", "iwslt2017", "narrative_qa", "daily_dialog")
SYSTEMS = ("zero_shot", "supervised", "ppo", "nlpo", "supervised+ppo", "supervised+nlpo")
#: How every system is decoded a second time: truncation alone moves every metric.
SHARED = {"temperature": 1.0, "top_p": 0.9}

#: Below the folder of a grid, those of its cells.
CELLS = "cells"
#: Options of tasks that say where data lies, which is another place on another machine.
PLACES = ("data_dir", "path")

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
# `WHICH:` in front of a setting
_WHICH = re.compile(r"(?:([^=:]+):)?(.*)", re.DOTALL)
_PRESETS = ("ppo", "nlpo")
#: Blocks of a recipe that only RL reads.
_OF_RL = ("algorithm", "optimizer", "kl", "rollout", "training", "reward_faults")


@dataclass(frozen=True, slots=True)
class System:
    """A row of the leaderboard.

    Attributes:
        label: what it is called, and its folder.
        supervised: whether it has a warm start.
        algorithm: what trains it by RL, None where nothing does.
    """

    label: str
    supervised: bool = False
    algorithm: str | None = None

    @classmethod
    def read(cls, text: str) -> System:
        """Read `zero_shot`, `supervised`, `[LABEL=]ALGORITHM` or `[LABEL=]supervised+ALGORITHM`.

        Raises:
            ConfigError: the algorithm is unknown, or the label is no name.
        """
        label, sign, what = text.rpartition("=")
        label = label if sign else what
        if not _LABEL.fullmatch(label):
            raise ConfigError(
                f"system {text!r}: a label is a name of letters, digits and _.+-, such as mine=supervised+ppo"
            )
        if what in ("zero_shot", "supervised"):
            if sign:
                raise ConfigError(f"system {text!r}: {what} has the name {what}; labels are for algorithms")
            return cls(what, what == "supervised")
        algorithm = what.removeprefix("supervised+")
        try:
            registry.algorithms.get(algorithm)
        except UnknownNameError as error:
            known = [*SYSTEMS, *registry.algorithms.names()]
            raise ConfigError(f"system {text!r}: no such system or algorithm; {did_you_mean(what, known)}") from error
        return cls(label, what != algorithm, algorithm)


@dataclass(frozen=True, slots=True)
class Cell:
    """One system on one task with one seed.

    Attributes:
        task, edition, system, seed: which one.
        blocks: of its recipe, without the run folder and the model that it begins with.
        after: the cell whose model it begins with; None where there is none.
    """

    task: str
    edition: str
    system: System
    seed: int
    blocks: Mapping[str, Any]
    after: Cell | None = None

    @property
    def key(self) -> str:
        """Its folder below that of all cells, and its name."""
        return f"{self.task}/{self.system.label}/seed-{self.seed}"

    @property
    def trains(self) -> bool:
        """Whether anything is trained; else a model is decoded as it is."""
        return self.blocks["algorithm"] is not None or self.blocks.get("supervised") is not None

    @property
    def fingerprint(self) -> str:
        """A hash of what determines its numbers, apart from the code and the data."""
        before = None if self.after is None else self.after.fingerprint
        task = {key: None if key in PLACES else value for key, value in self.blocks["task"].items()}
        content = [self.task, self.edition, self.seed, {**self.blocks, "task": task}, SHARED, before]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def recipe(self, folder: Path, start: Path | None = None) -> Recipe:
        """Return the recipe of its run.

        Args:
            folder: of the run.
            start: the model that it begins with, where `after` is a cell.
        """
        blocks = {**self.blocks, "output_dir": str(folder)}
        if start is not None:
            blocks["model"] = {**blocks["model"], "path": str(start)}
        return recipe_from_dict(blocks, f"cell {self.key}")


def cell_to_dict(cell: Cell) -> dict[str, Any]:
    """Return a cell as plain values."""
    return asdict(cell)


def cell_from_dict(row: Mapping[str, Any]) -> Cell:
    """Return the cell that `cell_to_dict` gave."""
    after = None if row["after"] is None else cell_from_dict(row["after"])
    return Cell(**{**row, "system": System(**row["system"]), "after": after})


def cells(
    tasks: Iterable[str],
    systems: Iterable[System],
    seeds: Sequence[int],
    *,
    edition: str = "mini",
    settings: Sequence[str] = (),
) -> list[Cell]:
    """Return the grid, cells before those that begin with their models.

    A system that begins with a warm start takes the model of the cell `supervised` with its seed, which is added where
    it is not asked for.

    Args:
        tasks: names.
        systems: the rows of the leaderboard.
        seeds: of training and decoding; the same prompts and draws for all systems.
        edition: of the tasks.
        settings: dotted settings of recipes. `KEY=VALUE` is for all cells that have such a block; `WHICH:KEY=VALUE` for
            those of a system (`nlpo`), of a task (`imdb/*`) or both (`imdb/nlpo`), with * and ? as in file names.

    Raises:
        ConfigError: a task, a system or a setting is wrong; a label stands twice.
    """
    wanted = list(systems)
    labels = [system.label for system in wanted]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ConfigError(f"system {twice[0]!r} is named twice; give one of them a label: mine={twice[0]}")
    if any(system.supervised and system.algorithm for system in wanted) and "supervised" not in labels:
        wanted = [System("supervised", supervised=True), *wanted]
    wanted.sort(key=lambda system: system.supervised and system.algorithm is not None)
    found: dict[str, Cell] = {}
    used: set[str] = set()
    for name in dict.fromkeys(tasks):
        called = _called(name, edition)
        for system in wanted:
            chosen = [text for text in settings if _is_for(text, called, system)]
            used.update(chosen)
            for seed in seeds:
                before = found.get(f"{called}/supervised/seed-{seed}")
                cell = _cell(name, called, edition, system, seed, [_setting(text) for text in chosen], before)
                if cell.key in found:
                    raise ConfigError(f"task {name!r}: another task of the grid is called {called!r}, too")
                found[cell.key] = cell
    for text in settings:
        if text not in used:
            raise ConfigError(f"setting {text!r} is for no cell of this grid; it has {', '.join(labels)}")
    return list(found.values())


def _called(name: str, edition: str) -> str:
    """Return the name of a task, which may be named as `file.py:Class`."""
    called = build_task({"name": name, "edition": edition}).name
    if not _LABEL.fullmatch(called):
        raise ConfigError(f"task {name!r}: its name is {called!r}; a name has letters, digits and _.+-")
    return called


def _is_for(text: str, task: str, system: System) -> bool:
    which, setting = _WHICH.fullmatch(text).groups()  # type: ignore[union-attr]  # matches any text
    block = setting.partition("=")[0].partition(".")[0]
    if which is None:  # the others have no algorithm, and nothing to say of one
        return system.algorithm is not None or block not in _OF_RL
    pattern = which if "/" in which else f"*/{which}"
    return fnmatch.fnmatchcase(f"{task}/{system.label}", pattern)


def _setting(text: str) -> str:
    return str(_WHICH.fullmatch(text)[2])  # type: ignore[index]


def _cell(
    name: str,
    called: str,
    edition: str,
    system: System,
    seed: int,
    settings: Sequence[str],
    supervised: Cell | None,
) -> Cell:
    algorithm = system.algorithm if system.algorithm in _PRESETS else "ppo"
    preset = f"supervised-{algorithm}" if system.supervised else algorithm
    component = {"name": name, "edition": edition, "preset": preset}
    task = build_task(component)
    blocks: dict[str, Any] = {"name": f"{called}-{system.label.replace('+', '-')}", "seed": seed, "task": component}
    blocks["evaluation"] = {"split": "test", "every": 0}
    blocks["checkpoint"] = {"every": 10}
    warm = task.defaults.get("supervised")
    after = None
    if system.algorithm is None:
        blocks |= {"algorithm": None, "supervised": warm if system.supervised else None}
    else:
        if system.algorithm != algorithm:
            blocks["algorithm"] = {"name": system.algorithm}
        blocks["supervised"] = None
        if warm is not None:  # else the preset names a model that was trained on the task already
            after = supervised
    where = f"task {name}, system {system.label}"
    recipe = recipe_from_dict(blocks, where, settings)
    if recipe.evaluation.split != "test":  # which is what a leaderboard is of
        raise ConfigError(
            f"{where}: evaluation.split is {recipe.evaluation.split}, and cells are measured on test prompts; other "
            f"prompts: rl4lms evaluate RUN --split {recipe.evaluation.split}, or rl4lms train for settings to be tried"
        )
    if fault := judged_by_reward(recipe):
        raise ConfigError(f"{where}: {fault}")
    return Cell(called, edition, system, seed, _written(recipe), after)


def _written(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude={"output_dir"})


def task_of_cell(cell: Cell) -> Task:
    """Return the task of a cell."""
    return build_task(cell.blocks["task"])
