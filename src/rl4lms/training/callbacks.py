"""What the loop calls on the way: evaluations, and callbacks in the shape of `transformers.TrainerCallback`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import IntervalStrategy

from rl4lms import distributed
from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError
from rl4lms.evaluation.evaluator import EvalResult, Evaluator
from rl4lms.rollout.masking import Masking
from rl4lms.runs.display import Display
from rl4lms.runs.evaluations import Which, keep_evaluation
from rl4lms.runs.tracking import RunLog


@dataclass(slots=True)
class Evaluations:
    """Evaluates the policy when the loop asks for it; records faults and samples, and show numbers and texts.

    Attributes:
        evaluator: decodes and measures.
        masking: the mask that is decoded in beside the plain decoding, where the recipe asks for that.
        log, display: where texts and faults go.
        samples: how many texts are kept of each evaluation.
        recipe: as the user wrote it; it is kept with the first and the last evaluation.
        results: those of the last evaluation, by prefix: `eval/`, and `eval/masked/` inside the mask.
    """

    evaluator: Evaluator
    masking: Masking | None
    log: RunLog
    display: Display
    samples: int
    recipe: Recipe
    results: dict[str, EvalResult] = field(default_factory=dict)

    def __call__(self, step: int) -> dict[str, float]:
        """Evaluate after iteration `step`; return means by log key."""
        self.results["eval/"] = self.evaluator()
        if self.evaluator.settings.mask and self.masking is not None:
            self.results["eval/masked/"] = self.evaluator(self.masking.rule)
        numbers: dict[str, float] = {}
        for prefix, result in self.results.items():
            numbers |= result.numbers(prefix)
        shown = self.results["eval/"].samples[: self.samples]

        def record() -> None:
            self.log.log_faults(
                step, "evaluation", [fault for result in self.results.values() for fault in result.faults]
            )
            self.log.log_samples(step, shown)
            # a warm start alone is all the training there is, and this evaluation comes after it
            model: Which = "trained" if step or self.recipe.algorithm is None else "start"
            keep_evaluation(self.log.folder, self.results, self.recipe, model=model, step=step)
            self.display.evaluation(step, numbers, shown)

        distributed.only_main(record)
        return numbers


@dataclass(frozen=True, slots=True)
class RunArguments:
    """What callbacks get as `args`: those of `transformers.TrainingArguments` that mean something here.

    Attributes:
        output_dir: the run folder.
        run_name, seed, learning_rate, report_to: as in the recipe.
        max_steps: iterations.
        eval_strategy, eval_steps, save_strategy, save_steps, logging_strategy, logging_steps: how often, in iterations.
        metric_for_best_model, greater_is_better: `checkpoint.best` and `best_mode`, `eval_reward` where none is named.
            Evaluation keys are `eval_reward` for `eval/reward`.
        load_best_model_at_end: whether the run leaves a `best/`.
        world_size, process_index, local_process_index: callbacks run in the first process alone.
    """

    output_dir: str
    run_name: str
    seed: int
    learning_rate: float
    report_to: tuple[str, ...]
    max_steps: int
    eval_steps: int
    save_steps: int
    metric_for_best_model: str
    greater_is_better: bool
    load_best_model_at_end: bool
    world_size: int
    logging_steps: int = 1
    num_train_epochs: float = 1.0
    process_index: int = 0
    local_process_index: int = 0
    eval_strategy: IntervalStrategy = IntervalStrategy.STEPS
    save_strategy: IntervalStrategy = IntervalStrategy.STEPS
    logging_strategy: IntervalStrategy = IntervalStrategy.STEPS

    def to_dict(self) -> dict[str, Any]:
        """Return all of them."""
        return asdict(self)

    to_sanitized_dict = to_dict


def callbacks_of(given: Iterable[Any]) -> list[Any]:
    """Return callbacks as objects.

    Args:
        given: objects with any of the methods of `TrainerCallback`, or classes of them, made without arguments.

    Raises:
        ConfigError: one has none of these methods.
    """
    found = [one() if inspect.isclass(one) else one for one in given]
    for one in found:
        if not any(hasattr(one, event) for event in _EVENTS):
            name = getattr(one, "__name__", type(one).__name__)
            raise ConfigError(
                f"callbacks: {name} has none of the methods of transformers.TrainerCallback, such as on_log or "
                "on_evaluate"
            )
    return found


class Watchers:
    """The callbacks of a run.

    Each method is called by the loop at its moment, in the first process alone; what callbacks ask for by
    `control.should_training_stop`, `should_evaluate` and `should_save` is agreed on by all processes. An exception of a
    callback ends the run as it is.

    Args:
        callbacks: what `callbacks_of` returns.
        recipe: what the run is.
        folder: of the run.
        given: what callbacks get by keyword: `model`, `processing_class`, `optimizer`. There is no HF scheduler and no
            data loader: `lr_scheduler`, `train_dataloader` and `eval_dataloader` are None.
    """

    def __init__(self, callbacks: Iterable[Any], recipe: Recipe, folder: Path, given: Mapping[str, Any]) -> None:
        self._callbacks = list(callbacks)
        absent = dict.fromkeys(("lr_scheduler", "train_dataloader", "eval_dataloader"))
        self._given = {**absent, **given}
        r, best = recipe, recipe.checkpoint.best or "eval/reward"
        assert r.optimizer.learning_rate is not None  # a recipe has filled it in
        self.args = RunArguments(
            output_dir=str(folder),
            run_name=r.name,
            seed=r.seed,
            learning_rate=r.optimizer.learning_rate,
            report_to=tuple(r.tracking.report_to),
            max_steps=r.training.iterations,
            eval_steps=r.evaluation.every or r.training.iterations,
            save_steps=r.checkpoint.every or r.training.iterations,
            metric_for_best_model=best.replace("/", "_", 1),
            greater_is_better=r.checkpoint.best is None or r.checkpoint.best_mode == "max",
            load_best_model_at_end=r.checkpoint.best is not None,
            world_size=distributed.world_size(),
        )
        self.state = TrainerState(
            max_steps=r.training.iterations,
            logging_steps=1,
            eval_steps=self.args.eval_steps,
            save_steps=self.args.save_steps,
            num_train_epochs=1,
        )
        self.control = TrainerControl()
        self.stopped_by = ""

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def begin(self, step: int) -> None:
        """Training begins, or goes on, after `step` iterations."""
        self.state.global_step = step
        self._tell("on_train_begin")

    def before(self) -> None:
        """An iteration begins."""
        self.control.should_evaluate = self.control.should_save = False
        self._tell("on_step_begin")

    def after(self, step: int, numbers: Mapping[str, float]) -> None:
        """Iteration number `step` is done, with these numbers."""
        self.state.global_step, self.state.epoch = step, step / max(1, self.state.max_steps)
        self._tell("on_step_end")
        self._log(step, numbers)

    def evaluated(self, step: int, numbers: Mapping[str, float]) -> None:
        """The policy was evaluated after iteration `step`; numbers by log key."""
        named = {key.replace("/", "_", 1): value for key, value in numbers.items()}
        self._log(step, named)
        self._tell("on_evaluate", metrics=named)
        value = named.get(self.args.metric_for_best_model)
        best, sign = self.state.best_metric, 1 if self.args.greater_is_better else -1
        if value is not None and (best is None or sign * value > sign * best):
            self.state.best_metric, self.state.best_global_step = value, step

    def saved(self) -> None:
        """A checkpoint was written."""
        self._tell("on_save")

    def end(self) -> None:
        """Training is over."""
        self._tell("on_train_end")

    @property
    def stop(self) -> bool:
        """Whether a callback wants this iteration to be the last."""
        return self._agreed("should_training_stop")

    @property
    def evaluate(self) -> bool:
        """Whether a callback wants an evaluation now."""
        return self._agreed("should_evaluate")

    @property
    def save(self) -> bool:
        """Whether a callback wants a checkpoint now."""
        return self._agreed("should_save")

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: the best evaluation, and the state of callbacks that export one."""
        kept = [
            {"class": type(one).__name__, **(one.state() if isinstance(one, ExportableState) else {})}
            for one in self._callbacks
        ]
        return {"best": self.state.best_metric, "stopped": self.control.should_training_stop, "callbacks": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned, where the callbacks are those of then; others begin anew."""
        kept = state.get("callbacks", [])
        if not self._callbacks or [one["class"] for one in kept] != [type(one).__name__ for one in self._callbacks]:
            return
        self.state.best_metric, self.control.should_training_stop = state["best"], state["stopped"]
        for one, own in zip(self._callbacks, kept, strict=True):
            for name, value in own.get("attributes", {}).items():
                setattr(one, name, value)

    def _log(self, step: int, numbers: Mapping[str, float]) -> None:
        self.state.log_history.append({**numbers, "step": step})
        self._tell("on_log", logs=dict(numbers))

    def _tell(self, event: str, **more: Any) -> None:
        if not distributed.is_main():
            return
        for one in self._callbacks:
            method = getattr(one, event, None)
            if method is None:
                continue
            before = self.control.should_training_stop
            self.control = method(self.args, self.state, self.control, **self._given, **more) or self.control
            if self.control.should_epoch_stop:
                raise ConfigError(
                    f"callbacks: {type(one).__name__} asks for the end of an epoch, and there are none here; set "
                    "control.should_training_stop"
                )
            if self.control.should_training_stop and not before:
                self.stopped_by = type(one).__name__

    def _agreed(self, wish: str) -> bool:
        return bool(self._callbacks) and bool(distributed.any_of(bool(getattr(self.control, wish))))


_EVENTS = [name for name in vars(TrainerCallback) if name.startswith("on_")]
