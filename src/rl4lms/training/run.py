"""From a recipe to a trained model: puts the pieces together, for `rl4lms.train` and the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from rl4lms import distributed
from rl4lms.algorithms.base import Algorithm
from rl4lms.algorithms.build import algorithm_of, mask_of
from rl4lms.algorithms.learner import Learner
from rl4lms.algorithms.unused import unused
from rl4lms.config.model import ModelConfig
from rl4lms.config.recipe import Recipe
from rl4lms.data.files import FileTask
from rl4lms.errors import CheckpointError, ConfigError, Interrupted
from rl4lms.evaluation.build import metrics_of, reward_of
from rl4lms.evaluation.evaluator import Evaluator, build_evaluator
from rl4lms.evaluation.leaks import check_best, check_split
from rl4lms.models.adapter_folders import adapter_of
from rl4lms.models.allocator import keep_freed_memory
from rl4lms.models.build import Models, build_models, refuse_contradictions
from rl4lms.models.loading import check_window, resolve_device
from rl4lms.plugins.files import refuse_while_executing
from rl4lms.rewards import load_state, state_of
from rl4lms.rollout.chat import template_of
from rl4lms.rollout.masking import Masking
from rl4lms.runs.checkpoint import Checkpoints, TrainState
from rl4lms.runs.display import Display
from rl4lms.runs.fingerprint import WEIGHTS, code_files, file_key, fingerprint, identity
from rl4lms.runs.folder import last_good, open_folder, unreadable, write_config
from rl4lms.runs.health import Health, health_of
from rl4lms.runs.history import read_history
from rl4lms.runs.layout import is_run
from rl4lms.runs.signals import StopSignals
from rl4lms.runs.storage import tidy
from rl4lms.runs.tracking import RunLog, SilentLog
from rl4lms.supervised.assets import with_assets
from rl4lms.supervised.warm_start import warm_start, warm_started
from rl4lms.tasks import samples_of, task_of
from rl4lms.training.callbacks import Evaluations, Watchers, callbacks_of
from rl4lms.training.loop import Loop
from rl4lms.training.result import UPLOAD, RunResult, save_result
from rl4lms.types import Reward, Task

_LOST = (
    "note: {} is known to this script alone: rl4lms.train(..., resume=True) in it can continue the run; the command "
    "line cannot, and evaluates without it"
)


def run_folder(recipe: Recipe) -> Path:
    """Return where a run's files go."""
    return Path(recipe.output_dir or f"runs/{recipe.name}-seed{recipe.seed}")


def run(
    recipe: Recipe,
    *,
    resume: bool = False,
    reward: Reward | None = None,
    progress: bool | None = None,
    prepare: Callable[[Path], None] | None = None,
    callbacks: Iterable[Any] = (),
    lost: Sequence[str] = (),
) -> RunResult:
    """Run a recipe.

    Args:
        recipe: every setting.
        resume: continue the run in the run folder from its last checkpoint.
        reward: replaces the recipe's.
        progress: show progress on standard error; as the recipe says when None.
        prepare: called with the run folder before anything is read from it.
        callbacks: see `rl4lms.training.callbacks`.
        lost: names of functions and objects that only the script at hand knows; the user is told.

    Raises:
        ConfigError, Rl4lmsError, Interrupted: see `rl4lms.train`.
    """
    refuse_while_executing("rl4lms.train")
    folder = run_folder(recipe)
    loop: Loop | None = None
    wanted = recipe.tracking.progress if progress is None else progress
    with StopSignals() as stop, distributed.started(), Display(wanted and distributed.is_main()) as display:
        try:
            with ExitStack() as stack:
                # The first process alone holds and writes the folder; the others only read it.
                lock = distributed.only_main(lambda: stack.enter_context(open_folder(folder, recipe, resume)))
                for name in lost:
                    display.note(_LOST.format(name))
                with stop.during("the start", at_once=True):
                    if prepare is not None:
                        distributed.only_main(functools.partial(prepare, folder))
                    loop = assemble(recipe, folder, reward=reward, callbacks=callbacks, display=display, stop=stop)
                if lock is not None:
                    loop.check_folder = lock.check
                try:
                    if resume:
                        _resume(loop, display)
                        # what may change on resume may have changed
                        distributed.only_main(lambda: write_config(folder, recipe))
                    loop.run()
                    if loop.watch.stopped_by:
                        display.note(f"stopped after iteration {loop.state.step} by {loop.watch.stopped_by}")
                finally:
                    loop.log.close()
                if not loop.evaluate.results:  # resumed after the last iteration
                    with stop.during("the evaluation", at_once=True):
                        loop.evaluate(loop.state.step)
                with stop.during("the end", at_once=False):
                    result = save_result(recipe, loop, getattr(task_of(recipe), "version", 1), stop)
        except Interrupted as signal:
            raise Interrupted(
                _when(str(signal), stop.doing, folder, loop), folder if is_run(folder) else None
            ) from None
        if stop.received is not None:  # too late to stop anything here, but whoever called should stop
            raise Interrupted(
                f"{stop.received} arrived at the end; the run is finished, and its model is in {result.model}"
            )
    return result


def check_trains(recipe: Recipe) -> None:
    """Refuse a recipe with neither an algorithm nor a warm start, which evaluations have no use for, and options that
    building the model would refuse, which is after a warm start.

    Raises:
        ConfigError: there is nothing to train.
        ModelError: options of the model contradict each other.
    """
    refuse_contradictions(recipe.model, recipe.device)
    if recipe.algorithm is None and recipe.supervised is None:
        raise ConfigError(
            "algorithm: null, and there is no `supervised`: nothing would be trained; add a block `supervised` for the "
            "warm start alone ({} for its defaults), or name an algorithm"
        )


def assemble(
    recipe: Recipe,
    folder: Path,
    *,
    reward: Reward | None = None,
    callbacks: Iterable[Any] = (),
    display: Display | None = None,
    stop: StopSignals | None = None,
) -> Loop:
    """Build everything that a run needs."""
    keep_freed_memory()
    display, stop = display or Display(enabled=False), stop or StopSignals()
    callbacks = callbacks_of(callbacks)
    check_trains(recipe)
    asked, task, agreement = recipe, task_of(recipe), fingerprint(recipe)
    algorithm = algorithm_of(recipe)
    prompts = samples_of(task, "train") if algorithm is not None else ()
    check_split(recipe, task, recipe.evaluation.split)
    check_best(recipe, task)
    recipe = _with_models(recipe, task, algorithm, display, stop)
    # What can be wrong with rewards and metrics shows before the warm start, which may take hours. The first process
    # scores for all.
    scored_by = distributed.only_main(functools.partial(reward_of, recipe, task, reward))
    if distributed.from_main(lambda: scored_by is None) and algorithm is not None:
        raise ConfigError("reward: none is named; RL needs one, for example reward: {name: path/to/file.py:function}")
    metrics = distributed.only_main(functools.partial(metrics_of, recipe, task)) or ([], {})
    device = resolve_device(recipe.device)
    refuse_contradictions(recipe.model, device.type)
    tell_adapter(display, recipe.model)
    if recipe.supervised is not None:
        with stop.during("the warm start", at_once=True):
            distributed.only_main(functools.partial(warm_start, recipe, task, folder, device, display))
            recipe = warm_started(recipe, folder)

    torch.manual_seed(recipe.seed)
    models = _built(recipe, device, algorithm)
    agreement[WEIGHTS] = identity(models.policy.lm)  # a path stays when another model is put there
    learner = Learner(
        models.policy,
        recipe.optimizer,
        iterations=recipe.training.iterations,
        temperature=recipe.rollout.temperature,
        seed=recipe.seed,
        ref_policy=models.ref_policy,
    )
    if algorithm is not None:
        algorithm.bind(learner)
    evaluator = build_evaluator(recipe, task, models, scored_by, metrics)
    evaluator.engine.encoder.check(prompts or evaluator.samples)
    _tell(display, asked, task, evaluator, algorithm)
    log = (RunLog if distributed.is_main() else SilentLog)(
        folder, recipe.tracking, recipe.name, recipe.model_dump(mode="json")
    )
    parts = {"model": models.policy.lm, "processing_class": models.tokenizer, "optimizer": learner.optimizer}
    watch = Watchers(callbacks, recipe, folder, parts)
    state = TrainState(models.policy, learner.optimizer, models.mask_policy, algorithm, kl_coef=recipe.kl.kl_coef)
    state.reward, state.callbacks, masking = state_of(scored_by), watch, _masking(algorithm, recipe, models)
    return Loop(
        recipe=recipe,
        models=models,
        algorithm=algorithm,  # type: ignore[arg-type]  # None only where there are no iterations
        masking=masking,
        engine=evaluator.engine,
        reward=scored_by,  # type: ignore[arg-type]  # None only where there are no iterations, or another process scores
        samples=prompts,
        state=state,
        checkpoints=Checkpoints(
            folder / "checkpoints", recipe.checkpoint.keep_last, agreement, map(file_key, code_files(recipe))
        ),
        log=log,
        evaluate=Evaluations(evaluator, masking, log, display, recipe.evaluation.samples, asked),
        watch=watch,
        health=None if recipe.training.on_health == "off" else Health(),
        warn=display.warn,
        after_step=lambda step, numbers: display.iteration(
            recipe.algorithm_name, step, recipe.training.iterations, numbers
        ),
        stop=stop,
    )


def _masking(algorithm: Algorithm | None, recipe: Recipe, models: Models) -> Masking | None:
    """Return the mask of the rollouts; what the algorithm has to say of it may change on the way."""
    mask = mask_of(algorithm, recipe.mask)
    return None if mask is None else Masking(lambda: mask_of(algorithm, recipe.mask) or mask, models)


def _built(recipe: Recipe, device: torch.device, algorithm: Algorithm | None) -> Models:
    """Return the models, which have room for the recipe's prompts and completions, and its chat template."""
    value, mask = algorithm is not None and algorithm.needs_value, mask_of(algorithm, recipe.mask)
    lagged = mask is not None and mask.source == "lagged"
    model = recipe.model if algorithm is not None else recipe.model.model_copy(update={"attention": "auto"})
    models = build_models(model, device, value=value, mask=lagged)
    if recipe.prompt.chat_template is not None:  # so that the model that is saved has it
        models.tokenizer.chat_template = template_of(recipe.prompt)
    longest = max(recipe.rollout.max_new_tokens, recipe.decoding.max_new_tokens)
    check_window(models.policy.lm, recipe.prompt.max_tokens, longest)
    return models


def _tell(display: Display, recipe: Recipe, task: Task, evaluator: Evaluator, algorithm: Algorithm | None) -> None:
    """Say which metrics will be absent, which rows are trained on and evaluated, where that is not all of them, and
    which settings have no effect.
    """
    if distributed.is_main():
        display.warn(unused(algorithm, recipe, task.defaults))
    for name, why in evaluator.absent.items():
        display.console.print(f"the metric {name!r} will be absent: {why}", markup=False, soft_wrap=True)
    c, prompts = recipe.evaluation, len(evaluator.samples)
    if isinstance(task, FileTask) and (held := task.held_out()):
        display.note(f"held out: {held}")
    if isinstance(task, FileTask) and (empty := task.empty_prompts()):
        display.note(f"note: {empty}")
    if shared := check_split(recipe, task, c.split):
        display.note(f"note: {shared}")
    if prompts < evaluator.available:
        drawn = f"drawn with evaluation.prompt_seed {c.prompt_seed}"
        display.note(f"evaluated: {prompts:,} of {evaluator.available:,} {c.split} prompts, {drawn}")


def tell_adapter(display: Display, model: ModelConfig) -> None:
    """Say what an adapter that training starts from was made for, and what is trained of the two."""
    adapter = adapter_of(model.path, model.revision)
    if adapter is not None:
        trained = (
            "all of its weights are trained" if model.lora is None else "a new adapter on it is trained (model.lora)"
        )
        display.note(f"model: the adapter {model.path}, merged into its base {adapter.base}; {trained}")


def _with_models(
    recipe: Recipe, task: Task, algorithm: Algorithm | None, display: Display, stop: StopSignals
) -> Recipe:
    """Return the recipe with the folders of the small models that its task declares, and without iterations where
    nothing iterates.
    """
    with stop.during("the building of assets", at_once=True):
        distributed.only_main(functools.partial(with_assets, recipe, task, display.report))
        recipe = with_assets(recipe, task)
    if algorithm is None:
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"iterations": 0})})
    return recipe


def _when(signal: str, doing: str, folder: Path, loop: Loop | None) -> str:
    """When a run was stopped, and what is saved."""
    after = (
        f" after iteration {loop.state.step} of {loop.recipe.training.iterations}"
        if loop is not None and loop.state.step
        else ""
    )
    during = "" if doing == "this iteration" else f" during {doing}"
    last = last_good(folder)
    if doing == UPLOAD:
        saved = f"the run is finished, and its model is in {folder / 'model'}"
    else:
        saved = f"saved in {last}" if last is not None else "no checkpoint was written yet, so it will start over"
        if last is None and unreadable(folder):
            saved = "its checkpoints cannot be read now"
    return f"stopped by {signal}{during}{after}; {saved}"


def _where_it_stands(step: int | None, iterations: int) -> str:
    if step is None:
        return "no checkpoint yet: starting over"
    if step < iterations:
        return f"resuming after iteration {step}"
    return (
        f"there is nothing left to train after iteration {step} of {iterations}: the model is evaluated and saved "
        "again; to train on, set training.iterations to more"
    )


def _resume(loop: Loop, display: Display) -> None:
    def latest() -> tuple[int | None, list[str]]:
        tidy(loop.checkpoints.folder)
        return loop.checkpoints.latest()

    step, notes = distributed.from_main(latest)
    if step is None and notes:
        raise CheckpointError(
            f"{loop.checkpoints.folder}: no checkpoint is usable, so the run cannot be continued: " + "; ".join(notes)
        )
    if step is not None:
        notes += loop.checkpoints.load(step, loop.state)
        if distributed.is_main():
            load_state(loop.reward, loop.state.reward)
        iterations = loop.recipe.training.iterations
        if step > iterations:
            raise ConfigError(
                f"training.iterations: {iterations}, but the run is at iteration {step} already; name {step} or more, "
                f"or another output_dir"
            )

    def cut() -> list[str]:
        if step is not None:
            loop.checkpoints.drop_after(step)
            loop.checkpoints.prune(loop.state)  # what was due when the run was killed
        return loop.log.cut_after(loop.state.step, loop.state.unlogged is not None)

    notes += distributed.from_main(cut)
    if loop.health is not None and loop.log.path.is_file():
        loop.health = health_of(read_history(loop.log.folder))
    notes.append(_where_it_stands(step, loop.recipe.training.iterations))
    for line in notes:
        display.console.print(line, markup=False, soft_wrap=True)
