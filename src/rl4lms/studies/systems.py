"""Runs as they are compared: those of one recipe with different seeds are one system, and each knows what it began
with.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rl4lms.config.generation import EvalGenerationConfig, SamplingConfig
from rl4lms.config.resolve import flat
from rl4lms.errors import ConfigError, DataError
from rl4lms.runs.evaluations import Evaluation, kept_evaluations, read_evaluation
from rl4lms.runs.history import History, read_history
from rl4lms.runs.layout import refuse_absent_run
from rl4lms.training.result import RunResult

#: Settings in which the runs of one system may differ: whose, where and how it is watched, not what is trained.
_OF_A_RUN = ("seed", "name", "output_dir", "device", "tracking", "push_to_hub")
_NO_MATTER = ("batch_size", "mask")  # of decoding: neither changes the texts


@dataclass(frozen=True, slots=True)
class Run:
    """What one run, or one file of an evaluation, brings.

    Attributes:
        path: as it was given.
        final: the evaluation of the trained model.
        start: that of the model that its training began with, where there is one.
        masked, masked_start: the same inside NLPO's mask.
        history: what it logged; empty for a file.
    """

    path: Path
    final: Evaluation
    start: Evaluation | None = None
    masked: Evaluation | None = None
    masked_start: Evaluation | None = None
    history: History = field(default_factory=History)

    @property
    def settings(self) -> dict[str, Any]:
        """The flat settings of the recipe."""
        return flat(self.final.recipe)

    @property
    def iterations(self) -> int:
        """How many iterations its recipe asks for."""
        recipe = self.final.recipe
        return (
            0 if recipe["algorithm"] is None or self.final.model == "start" else int(recipe["training"]["iterations"])
        )


@dataclass(frozen=True, slots=True)
class System:
    """A row of a comparison: runs of one recipe, by seed; or the model that some runs began with.

    Attributes:
        label: what it is called.
        evaluations: one per seed.
        masked: the same inside NLPO's mask; empty where there is none.
        runs: the runs; none for a model before training.
        start: the label of the row that it began with; None where that is not known.
    """

    label: str
    evaluations: tuple[Evaluation, ...]
    masked: tuple[Evaluation, ...] = ()
    runs: tuple[Run, ...] = ()
    start: str | None = None


def named(targets: Any) -> list[tuple[str | None, Path]]:
    """Split what people name into labels, None where they give none, and paths.

    Args:
        targets: paths, `label=path`, and results of `rl4lms.train`; or a mapping from label to one of them or several.

    Raises:
        ConfigError: a label or a path is missing.
    """
    single = str | Path | RunResult
    if isinstance(targets, Mapping):
        each = {label: [given] if isinstance(given, single) else given for label, given in targets.items()}
        return [(label, _path(given)) for label, many in each.items() for given in many]
    return [_split(target) for target in ([targets] if isinstance(targets, single) else targets)]


def _split(target: str | Path | RunResult) -> tuple[str | None, Path]:
    label, sign, path = str(target).partition("=")
    if not isinstance(target, str) or not sign or Path(target).exists():
        return None, _path(target)
    if not label or not path:
        raise ConfigError(f"{target}: write LABEL=PATH, or the path alone")
    return label, Path(path)


def _path(given: str | Path | RunResult) -> Path:
    return given.folder if isinstance(given, RunResult) else Path(given)


def read_run(path: Path) -> Run:
    """Read the evaluations that a run has kept, or the file of one.

    Raises:
        ConfigError: there is neither.
        DataError: the run has kept none.
    """
    if path.is_file():
        return Run(path, read_evaluation(path))
    refuse_absent_run(path)
    kept = kept_evaluations(path)
    if (steps := [step for step, masked in kept if not masked]) == []:
        raise DataError(
            f"{path}: the run has kept no evaluation with its prompts: it has not begun, or an earlier version made "
            "it; add --evaluate (in Python: evaluate=True), which decodes every run again"
        )
    last = max(steps)

    def at(step: int, masked: bool = False) -> Evaluation | None:
        return read_evaluation(kept[step, masked]) if (step, masked) in kept else None

    final = at(last)
    assert final is not None
    first, masked_first = (at(0), at(0, True)) if last else (None, None)
    return Run(path, final, first, at(last, True), masked_first, read_history(path))


def group(runs: Sequence[tuple[str | None, Run]]) -> list[System]:
    """Put runs together that differ in nothing but their seed, or that have one label.

    Raises:
        ConfigError: a run is there twice, two runs of one recipe have the same seed, or a label stands for two things.
    """
    groups: dict[str, list[tuple[str | None, Run]]] = {}
    for label, run in runs:
        groups.setdefault(_what(run) if label is None else f"label {label}", []).append((label, run))
    systems: list[System] = []
    names = [_name(members) for members in groups.values()]
    for members, name in zip(groups.values(), names, strict=True):
        ordered = sorted((run for _, run in members), key=lambda run: run.final.seed)
        for one, two in itertools.pairwise(ordered):
            if one.final.seed == two.final.seed:
                raise ConfigError(
                    f"{one.path} and {two.path} have one recipe and one seed ({one.final.seed}), or one label: counted "
                    "twice, a run would look like evidence; name one of them, or give them different labels"
                )
        label = name if names.count(name) == 1 else str(ordered[0].path)
        masked = [run.masked for run in ordered if run.masked is not None]
        complete = tuple(masked) if len(masked) == len(ordered) else ()
        systems.append(System(label, tuple(run.final for run in ordered), complete, tuple(ordered)))
    return systems


def _what(run: Run) -> str:
    settings = {k: v for k, v in run.settings.items() if k.partition(".")[0] not in _OF_A_RUN}
    return json.dumps([run.final.model, run.final.step, settings], sort_keys=True)


def _name(members: Sequence[tuple[str | None, Run]]) -> str:
    label, run = members[0]
    name = str(run.final.recipe["name"])
    if label is not None:
        return label
    return name if run.final.model == "trained" else f"{name} before training"


def with_starts(systems: Sequence[System]) -> list[System]:
    """Put the models before training in front, once each, and let every system know its own.

    A start that wrote the same texts as a system with the same seeds is that system: a run that began with the model of
    a supervised one, for example.
    """
    rows: list[System] = []
    known = list(systems)
    for system in systems:
        starts = tuple(run.start for run in system.runs if run.start is not None)
        if not starts or len(starts) < len(system.runs):
            rows.append(replace(system, start=_untrained(system, systems)))
            continue
        texts = [start.completions() for start in starts]
        same = next((row for row in known if [e.completions() for e in row.evaluations] == texts), None)
        masked = tuple(run.masked_start for run in system.runs if run.masked_start is not None)
        masked = masked if len(masked) == len(starts) else ()
        if same is None:
            same = System(f"before {system.label}", starts, masked)
            known.append(same)
        elif masked and not same.masked:
            known[known.index(same)] = same = replace(same, masked=masked)
        rows.append(replace(system, start=same.label))
    added = known[len(systems) :]
    if len(added) == 1:
        (only,) = added
        rows = [replace(row, start="before training") if row.start == only.label else row for row in rows]
        added = [replace(only, label="before training")]
    masks = {row.label: row.masked for row in known}
    return [*added, *(replace(row, masked=row.masked or masks[row.label]) for row in rows)]


def _untrained(system: System, systems: Sequence[System]) -> str | None:
    """Return the label of the model that a warm start alone began with: its run evaluates nothing before it."""
    recipe = system.evaluations[0].recipe
    if recipe["algorithm"] is not None or system.evaluations[0].model == "start":
        return None
    for other in systems:
        first = other.evaluations[0]
        if first.model == "start" and first.recipe["supervised"] is None and first.recipe["model"] == recipe["model"]:
            return other.label
    return None


def decoding(evaluation: Evaluation) -> EvalGenerationConfig:
    """Return how the completions were decoded."""
    given = evaluation.recipe["evaluation"]["generation"]
    if given is None:
        rollout = evaluation.recipe["rollout"]
        given = {name: rollout[name] for name in SamplingConfig.model_fields}
    return EvalGenerationConfig(**given)


def refuse_different(evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations that are not of the same prompts, decoded alike.

    Raises:
        DataError: they are not; the message names what differs, and what to do.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        different = _differences(first, other)
        if different:
            raise DataError(
                f"{first.path} and {other.path} were not evaluated alike, so no prompt can be compared with itself: "
                f"{'; '.join(different)}. Add --evaluate, which decodes all of them again, with settings for all, such "
                "as --split test evaluation.generation.temperature=1 (in Python: evaluate=True, split=, overrides=)"
            )


def _differences(one: Evaluation, two: Evaluation) -> list[str]:
    found = [f"{name}: {a!r} and {b!r}" for name, a, b in _settings(one, two) if a != b]
    if one.prompts.keys() != two.prompts.keys() or list(one.prompts) != list(two.prompts):
        shared = len(one.prompts.keys() & two.prompts.keys())
        return [*found, f"prompts: {len(one.prompts)} and {len(two.prompts)}, of which {shared} have the same id"]
    changed = [i for i in one.prompts if _asked(one, i) != _asked(two, i)]
    decoded = [line for line in found if line.startswith(("decoding", "masked"))]
    return [*found, f"prompts: {len(changed)} of {len(one.prompts)} differ"] if changed else decoded


def _asked(evaluation: Evaluation, name: str) -> tuple[Any, ...]:
    row = evaluation.prompts[name][0]
    return row["prompt"], row.get("full_prompt"), row["references"], len(evaluation.prompts[name])


def _settings(one: Evaluation, two: Evaluation) -> list[tuple[str, Any, Any]]:
    ways = [decoding(e).model_dump(exclude=set(_NO_MATTER)) for e in (one, two)]
    settings = [(f"decoding.{key}", ways[0][key], ways[1][key]) for key in ways[0]]
    settings += [("masked", one.masked, two.masked), ("split", one.split, two.split)]
    here, there = flat(one.recipe), flat(two.recipe)
    parts = ("task", "data", "prompt")
    keys = [k for k in dict.fromkeys([*here, *there]) if k.partition(".")[0] in parts]
    keys += ["evaluation.prompts", "evaluation.prompt_seed"]
    return [*settings, *((key, here.get(key), there.get(key)) for key in keys)]
