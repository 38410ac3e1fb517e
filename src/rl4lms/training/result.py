"""What a finished run leaves: the model, the best model, the result."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rl4lms
from rl4lms import distributed
from rl4lms.config.recipe import Recipe
from rl4lms.errors import CheckpointError, ConfigError, did_you_mean, plural
from rl4lms.evaluation.evaluator import EvalResult
from rl4lms.models.saving import save_adapter, save_model, save_value
from rl4lms.plugins.component import Component
from rl4lms.reporting.curves import curves
from rl4lms.runs.checkpoint import load_policy, verify
from rl4lms.runs.environment import model_card
from rl4lms.runs.health import Health, health_of
from rl4lms.runs.history import History, read_history
from rl4lms.runs.layout import RESULT_FILE, is_run
from rl4lms.runs.signals import StopSignals
from rl4lms.runs.storage import replacing, write_text
from rl4lms.supervised.warm_start import held_out_losses
from rl4lms.training.loop import Loop
from rl4lms.types import MetricResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UPLOAD = "the upload"


@dataclass(frozen=True, slots=True, repr=False)
class RunResult:
    """A finished run.

    Attributes:
        folder: the run folder.
        model: the trained model, an HF folder.
        metrics: the last evaluation, by log key.
    """

    folder: Path
    model: Path
    metrics: dict[str, float]

    @property
    def history(self) -> History:
        """The numbers of every iteration: a list of mappings, with `series(key)` and `to_pandas()`."""
        return read_history(self.folder)

    @property
    def health(self) -> Health:
        """The warnings of the run and how long each held; see docs/health.md."""
        return health_of(self.history)

    @property
    def samples(self) -> list[dict[str, Any]]:
        """Texts of the last evaluation: `prompt`, `completion`, `text`, `references`, and what each scored."""
        last = max((self.folder / "samples").glob("step-*.jsonl"), default=None)
        return [] if last is None else [json.loads(line) for line in last.read_text(encoding="utf-8").splitlines()]

    def plot(self, *keys: str, path: str | Path | None = None) -> Figure:
        """Draw learning curves: every iteration faint, their running mean on top.

        Args:
            keys: log keys, a chart for each; by default reward, KL, entropy, length and what evaluations say of them.
            path: save the figure there, too; the suffix says how (`.png`, `.svg`, `.pdf`).

        Returns:
            A matplotlib figure, which a notebook shows.

        Raises:
            ConfigError: the run has no such key.
        """
        history = self.history
        unknown = sorted(set(keys) - set(history.log_keys()))
        if unknown:
            raise ConfigError(f"{unknown[0]!r} was not logged; {did_you_mean(unknown[0], history.log_keys())}")
        shown = keys or tuple(key for key in _SHOWN if history.series(key))
        figure = curves({key: history.series(key) for key in shown})
        if path is not None:
            figure.savefig(path)
        return figure

    def __repr__(self) -> str:
        steps, changes = self._changes()
        told = ", ".join(f"{key} {was:.3g} → {now:.3g}" for key, was, now in changes[:3])
        return f"RunResult({str(self.folder)!r}, {plural(steps, 'iteration')}{': ' if told else ''}{told})"

    def _repr_html_(self) -> str:
        steps, changes = self._changes()
        rows = "".join(
            f"<tr><td>{escape(key)}</td><td>{was:.4g}</td><td>{now:.4g}</td><td>{now - was:+.4g}</td></tr>"
            for key, was, now in changes
        )
        head = "<tr><th>evaluation</th><th>before</th><th>after</th><th>change</th></tr>"
        return f"<p>{escape(str(self.folder))}, {plural(steps, 'iteration')}</p><table>{head}{rows}</table>"

    def _changes(self) -> tuple[int, list[tuple[str, float, float]]]:
        """Return the number of iterations, and of each number of an evaluation its first and last value."""
        history = self.history
        found = [(key, history.series(key)) for key in history.log_keys() if key.startswith("eval/")]
        found.sort(key=lambda item: (not item[0].startswith("eval/reward"), item[0]))
        return (history[-1]["step"] if history else 0), [(key, s[0][1], s[-1][1]) for key, s in found if s]


# What `RunResult.plot` shows where nobody says what.
_SHOWN = (
    "rollout/score",
    "eval/reward",
    "rollout/kl_per_token",
    "rollout/entropy",
    "rollout/completion_tokens",
    "train/explained_variance",
)


def load_run(folder: str | Path) -> RunResult:
    """Return the result of a run that ended earlier, here or elsewhere.

    Raises:
        CheckpointError: it is no run folder, or the run is not finished.
    """
    folder = Path(folder)
    path = folder / RESULT_FILE
    if not path.is_file():
        how = f"finish it with: rl4lms train {folder} --resume" if is_run(folder) else "name the folder of a run"
        raise CheckpointError(f"{path}: there is no such file; {how}")
    found = json.loads(path.read_text(encoding="utf-8"))["eval"]
    return RunResult(folder, folder / "model", {key: number["mean"] for key, number in found.items()})


def save_result(recipe: Recipe, loop: Loop, version: int, stop: StopSignals) -> RunResult:
    """Write `model/`, the value function as `value/`, with LoRA the `adapter/` that is merged into the model, `best/`
    where a best checkpoint was asked for, and, last, `result.json`; then upload the model where asked to.

    Args:
        recipe: as the user wrote it.
        loop: of the run.
        version: of the task.
        stop: lets a signal end the upload.

    Raises:
        CheckpointError: the best checkpoint is damaged.
        ModelError: a saved folder, loaded again, is not the model that was trained.
    """
    folder, evaluated = loop.log.folder, loop.evaluate.results
    numbers = {prefix + key: r for prefix, result in evaluated.items() for key, r in result.results.items()}
    distributed.only_main(lambda: _write(recipe, loop, evaluated, numbers, version, stop))
    return RunResult(folder, folder / "model", {key: r.mean for key, r in numbers.items()})


def _write(
    recipe: Recipe,
    loop: Loop,
    evaluated: Mapping[str, EvalResult],
    numbers: Mapping[str, MetricResult],
    version: int,
    stop: StopSignals,
) -> None:
    folder, models = loop.log.folder, loop.models
    card = model_card(recipe, numbers, loop.state.step)
    with replacing(folder / "model") as target:
        save_model(models.policy, models.tokenizer, target, card)
    if models.policy.value_head is not None:
        with replacing(folder / "value") as target:
            save_value(models.policy, target)
    if models.policy.adapter is not None:
        with replacing(folder / "adapter") as target:
            save_adapter(models.policy, models.tokenizer, target, loop.recipe.model.path)
    task = loop.recipe.task or Component(name="data")
    result = {
        "name": recipe.name,
        "seed": recipe.seed,
        "task": {"name": task.name, **task.options, "version": version},
        "algorithm": recipe.algorithm_name,
        "iterations": loop.state.step,
        **({"stopped_by": loop.watch.stopped_by} if loop.watch.stopped_by else {}),
        "best": loop.state.best,
        **({} if recipe.supervised is None else {"warm_start": {"held_out_loss": held_out_losses(folder)}}),
        **({} if loop.health is None else {"health": loop.health.counts}),
        "rl4lms": rl4lms.__version__,
        "python": platform.python_version(),
        "eval": {key: r.summary() for key, r in sorted(numbers.items())},
        "absent": {name: why for result in evaluated.values() for name, why in result.absent.items()},
    }
    if loop.state.best:
        best = loop.checkpoints.path(int(loop.state.best["step"]))
        problem = verify(best)
        if problem is not None:
            raise CheckpointError(
                f"{best}, the best checkpoint: {problem}; the model of the last iteration is in {folder / 'model'}"
            )
        load_policy(best / "policy.safetensors", models.policy)
        key, step = str(recipe.checkpoint.best), int(loop.state.best["step"])
        known = {key: MetricResult(key, loop.state.best["value"], None, len(loop.evaluate.evaluator.samples))}
        with replacing(folder / "best") as target:  # of its own evaluation only this number is kept
            save_model(models.policy, models.tokenizer, target, model_card(recipe, known, step))
    write_text(folder / RESULT_FILE, json.dumps(result, indent=1) + "\n")
    if recipe.push_to_hub is not None:
        from huggingface_hub import HfApi

        with stop.during(UPLOAD, at_once=True):
            api = HfApi()
            api.create_repo(recipe.push_to_hub.repo_id, private=recipe.push_to_hub.private, exist_ok=True)
            api.upload_folder(repo_id=recipe.push_to_hub.repo_id, folder_path=folder / "model")
