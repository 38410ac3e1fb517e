"""From a recipe to a trained model: puts the pieces together, and is what `rl4lms.train` and the command line call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from rl4lms.algorithms.base import Algorithm, Learner
from rl4lms.config import read_recipe, recipe_from_dict
from rl4lms.config.algorithms import SupervisedConfig
from rl4lms.config.generation import EvalGenerationConfig, SamplingConfig
from rl4lms.config.recipe import Recipe
from rl4lms.errors import CheckpointError, ConfigError, Interrupted
from rl4lms.evaluation import EvalResult, Evaluator
from rl4lms.models.allocator import keep_freed_memory
from rl4lms.models.build import Models, build_models
from rl4lms.models.loading import load_lm, load_tokenizer, position_windows, resolve_device, special_tokens
from rl4lms.plugins import registry
from rl4lms.plugins.files import is_path
from rl4lms.rewards import load_state, state_of
from rl4lms.rollout.engine import LocalEngine
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.tasks import build as build_task
from rl4lms.tasks.files import FileTask
from rl4lms.training import assets
from rl4lms.training.attach import attach
from rl4lms.training.checkpoint import WEIGHTS, Checkpoints, TrainState, file_key, identity
from rl4lms.training.display import Display
from rl4lms.training.finish import UPLOAD, RunResult, finish
from rl4lms.training.folder import is_run, last_good, open_folder, write_config
from rl4lms.training.interrupt import StopSignals
from rl4lms.training.judges import metrics_of, reward_of
from rl4lms.training.loop import Loop
from rl4lms.training.optimizer import Schedule, build_optimizer
from rl4lms.training.storage import tidy, write_text
from rl4lms.training.supervised import fit, save_supervised
from rl4lms.training.tracking import RunLog
from rl4lms.types import Metric, Reward, Sample, Task

# Settings that a resumed run may change: they do not move the numbers, or (`reward_faults`) let a run that stopped be continued.
_FREE = (
    "name",
    "output_dir",
    "device",
    "tracking",
    "checkpoint.every",
    "checkpoint.keep_last",
    "push_to_hub",
    "training.iterations",
    "reward_faults",
)


def train(
    source: str | Path | Recipe,
    *,
    overrides: Iterable[str] = (),
    resume: bool = False,
    progress: bool | None = None,
    **settings: Any,
) -> RunResult:
    """Trains a language model.

    Args:
        source: a recipe (a file ending in `.yaml` or `.yml`, or a `Recipe`), or the model: a Hub id, a folder, `asset:<name>` of the task.
        overrides: dotted settings for a recipe file, such as `rollout.top_p=0.9`.
        resume: continue the run in the run folder from its last checkpoint.
        progress: show progress on standard error; as the recipe says when None.
        settings: blocks of the recipe when `source` is a model: `task="imdb"`, `algorithm="nlpo"`, `reward=function`, ...

    Returns:
        A `RunResult`.

    Raises:
        ConfigError: the settings cannot be understood, or the run folder holds another run.
        Rl4lmsError: what went wrong, where, and what to do.
        Interrupted: Ctrl-C (SIGINT), SIGTERM or SIGHUP arrived. The iteration was finished and saved; call again with `resume=True`. It is
            a `KeyboardInterrupt`, so that a script ends as people expect. A second signal ends the run at once.
    """
    reward = settings.get("reward") if callable(settings.get("reward")) else None
    is_file = str(source).endswith((".yaml", ".yml"))
    if settings and (is_file or isinstance(source, Recipe)):
        raise ConfigError(f"settings beside a recipe: pass them as overrides of the file, such as overrides=['{next(iter(settings))}=...']")
    if overrides and not is_file:
        raise ConfigError("overrides belong to a recipe file; beside a model, pass settings by keyword, such as seed=1")
    if isinstance(source, Recipe):
        recipe = source
    elif is_file:
        recipe = read_recipe(source, overrides)
    else:
        recipe = recipe_from_dict({"model": str(source), **settings})
    return run(recipe, resume=resume, reward=reward, progress=progress)


def run_folder(recipe: Recipe) -> Path:
    """Where a run's files go."""
    return Path(recipe.output_dir or f"runs/{recipe.name}-seed{recipe.seed}")


def run(recipe: Recipe, *, resume: bool = False, reward: Reward | None = None, progress: bool | None = None) -> RunResult:
    """Runs a recipe; see `train`. `reward` replaces the recipe's by a callable."""
    folder = run_folder(recipe)
    loop: Loop | None = None
    with StopSignals() as stop, Display(recipe.tracking.progress if progress is None else progress) as display:
        try:
            with open_folder(folder, recipe, resume) as lock:
                with stop.during("the start", at_once=True):
                    loop, evaluated = assemble(recipe, folder, reward=reward, display=display, stop=stop)
                loop.check_folder = lock.check
                try:
                    if resume:
                        _resume(loop, display)
                        write_config(folder, recipe)  # what may change on resume may have changed
                    loop.run()
                finally:
                    loop.log.close()
                if not evaluated:  # resumed after the last iteration
                    with stop.during("the evaluation", at_once=True):
                        loop.evaluate(loop.state.step)
                with stop.during("the end", at_once=False):
                    result = finish(recipe, loop, evaluated, getattr(task_of(recipe), "version", 1), stop)
        except Interrupted as signal:
            raise Interrupted(_when(str(signal), stop.doing, folder, loop), folder if is_run(folder) else None) from None
        if stop.received is not None:  # too late to stop anything here, but whoever called should stop
            raise Interrupted(f"{stop.received} arrived at the end; the run is finished, and its model is in {result.model}")
    return result


def _when(signal: str, doing: str, folder: Path, loop: Loop | None) -> str:
    """When a run was stopped, and what is saved."""
    after = f" after iteration {loop.state.step} of {loop.recipe.training.iterations}" if loop is not None and loop.state.step else ""
    during = "" if doing == "this iteration" else f" during {doing}"
    last = last_good(folder)
    if doing == UPLOAD:
        saved = f"the run is finished, and its model is in {folder / 'model'}"
    else:
        saved = f"saved in {last}" if last is not None else "no checkpoint was written yet, so it will start over"
    return f"stopped by {signal}{during}{after}; {saved}"


def task_of(recipe: Recipe) -> Task:
    """The task a recipe names, or its data files as a task."""
    if recipe.data is not None:
        return FileTask(recipe.data)
    assert recipe.task is not None
    return build_task(recipe.task)


def with_assets(recipe: Recipe, task: Task, display: Display | None = None) -> Recipe:
    """The recipe with every `asset:<name>` replaced by its folder; builds what the cache does not have."""

    def report(name: str, step: int, of: int) -> None:
        if display is not None:
            display.report(f"building {name}", step, of)

    tree = assets.resolve(recipe.model_dump(mode="json"), task, report)
    return Recipe.model_validate(tree)


def eval_settings(recipe: Recipe) -> EvalGenerationConfig:
    """Decoding in evaluations: the recipe's, or the rollout's."""
    if recipe.evaluation.generation is not None:
        return recipe.evaluation.generation
    return EvalGenerationConfig(**{name: getattr(recipe.rollout, name) for name in SamplingConfig.model_fields})


def assemble(
    recipe: Recipe, folder: Path, *, reward: Reward | None = None, display: Display | None = None, stop: StopSignals | None = None
) -> tuple[Loop, dict[str, EvalResult]]:
    """Builds everything a run needs; the second result fills with the latest evaluation (`eval/`, `eval/masked/`)."""
    keep_freed_memory()
    display, stop = display or Display(enabled=False), stop or StopSignals()
    task, fingerprint = task_of(recipe), _fingerprint(recipe)
    with stop.during("the building of assets", at_once=True):
        recipe = with_assets(recipe, task, display)
    device = resolve_device(recipe.device)
    algorithm_class = registry.algorithms.get(recipe.algorithm.name)
    only_supervised = recipe.algorithm.name == "supervised"
    if only_supervised:
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"iterations": 0})})
    settings = recipe.evaluation.generation
    if settings is not None and settings.mask and not algorithm_class.needs_mask_policy:
        raise ConfigError(f"evaluation.generation.mask: {recipe.algorithm.name} has no mask to decode in; leave it out")
    # What can be wrong with rewards and metrics shows before the warm start, which may take hours.
    reward = reward_of(recipe, task, reward)
    if reward is None and not only_supervised:
        raise ConfigError("reward: none is named; RL needs one, for example reward: {name: path/to/file.py:function}")
    metrics = metrics_of(recipe, task)
    if recipe.supervised is not None or only_supervised:
        with stop.during("the warm start", at_once=True):
            recipe = _warm_start(recipe, task, folder, device, display)

    torch.manual_seed(recipe.seed)
    models = build_models(recipe.model, device, value=algorithm_class.needs_value, mask=algorithm_class.needs_mask_policy)
    fingerprint[WEIGHTS] = identity(models.policy.lm)  # a path stays when another model is put there
    check_window(recipe, models.policy.lm)
    optimizer = build_optimizer(models.policy, recipe.optimizer)
    learner = Learner(models.policy, optimizer, recipe.optimizer, recipe.rollout.temperature, recipe.seed, models.mask_policy)
    options_model = registry.algorithms.config_model(recipe.algorithm.name)
    options = options_model(**recipe.algorithm.options) if options_model is not None else recipe.algorithm.options
    algorithm: Algorithm = algorithm_class(options, learner)
    engine = LocalEngine.create(models.policy, models.tokenizer, recipe.prompt, recipe.seed)
    evaluator = build_evaluator(recipe, task, models, reward, metrics)
    for name, why in evaluator.absent.items():
        display.console.print(f"the metric {name!r} will be absent: {why}", markup=False, soft_wrap=True)
    log = RunLog(folder, recipe.tracking, recipe.name, recipe.model_dump(mode="json"))
    evaluated: dict[str, EvalResult] = {}

    def evaluate(step: int) -> dict[str, float]:
        evaluated["eval/"] = evaluator()
        rule = algorithm.mask_rule()
        if evaluator.settings.mask and rule is not None:
            evaluated["eval/masked/"] = evaluator(rule)
        numbers: dict[str, float] = {}
        for prefix, result in evaluated.items():
            numbers |= result.numbers(prefix)
        log.log_faults(step, "evaluation", [fault for result in evaluated.values() for fault in result.faults])
        shown = evaluated["eval/"].samples[: recipe.evaluation.samples]
        log.log_samples(step, shown)
        display.evaluation(step, numbers, shown)
        return numbers

    loop = Loop(
        recipe=recipe,
        models=models,
        algorithm=algorithm,
        engine=engine,
        reward=reward,  # type: ignore[arg-type]
        samples=task.samples("train") if not only_supervised else (),
        schedule=Schedule(optimizer, recipe.optimizer, recipe.training.iterations),
        state=TrainState(models.policy, optimizer, models.mask_policy, kl_coef=recipe.kl.kl_coef, reward=state_of(reward)),
        checkpoints=Checkpoints(folder / "checkpoints", recipe.checkpoint.keep_last, fingerprint, map(file_key, _reward_files(recipe))),
        log=log,
        evaluate=evaluate,
        after_step=lambda step, numbers: display.iteration(recipe.algorithm.name, step, recipe.training.iterations, numbers),
        stop=stop,
    )
    return loop, evaluated


def build_evaluator(
    recipe: Recipe,
    task: Task,
    models: Models,
    reward: Reward | None,
    metrics: tuple[list[Metric], dict[str, str]],
    split: str | None = None,
) -> Evaluator:
    """An evaluator of the recipe's split (or another), with its metrics (see `judges.metrics_of`) and the reward."""
    samples = task.samples(split or recipe.evaluation.split)[: recipe.evaluation.prompts]  # type: ignore[arg-type]
    attach([*metrics[0], reward], task, models.tokenizer)
    engine = LocalEngine.create(models.policy, models.tokenizer, recipe.prompt, recipe.seed)
    return Evaluator(engine, models.ref_policy, samples, eval_settings(recipe), metrics[0], reward, recipe.reward_faults, metrics[1])


def check_window(recipe: Recipe, lm: PreTrainedModel) -> None:
    """Refuses lengths beyond the model's positions.

    Raises:
        ConfigError: the prompt, the completion or (for decoder-only models) both together do not fit.
    """
    longest = max(recipe.rollout.max_new_tokens, eval_settings(recipe).max_new_tokens)
    prompt, windows = recipe.prompt.max_tokens, position_windows(lm)
    needs = {"prompt": prompt, "completion": longest} if lm.config.is_encoder_decoder else {"prompt and completion": prompt + longest}
    for (part, needed), window in zip(needs.items(), windows, strict=True):
        if window is not None and needed > window:
            raise ConfigError(
                f"prompt.max_tokens {prompt} and max_new_tokens {longest}: the {part} can need {needed} positions, "
                f"but the model has {window}; lower {'max_new_tokens' if part == 'completion' else 'prompt.max_tokens'}"
            )


def _warm_start(recipe: Recipe, task: Task, folder: Path, device: torch.device, display: Display) -> Recipe:
    """Trains by maximum likelihood unless a finished warm start lies in the run folder; RL starts from it and is anchored to it."""
    target = folder / "supervised"
    started = recipe.model_copy(update={"model": recipe.model.model_copy(update={"path": str(target), "tokenizer": None})})
    if (target / "config.json").is_file():
        return started
    torch.manual_seed(recipe.seed)
    lm, tokenizer = load_lm(recipe.model, device), load_tokenizer(recipe.model)
    check_window(recipe, lm)
    samples: Sequence[Sample] = task.supervised("train")
    prompt_ids = PromptEncoder(tokenizer, special_tokens(lm, tokenizer), recipe.prompt)(samples)
    config = recipe.supervised or SupervisedConfig()
    report: Callable[[int, int], None] = lambda step, of: display.report("warm start", step, of)  # noqa: E731
    losses = fit(lm, tokenizer, samples, config, prompt_ids=prompt_ids, seed=recipe.seed, progress=report)
    # The model comes last: while it is not there, a resumed run makes the whole warm start again.
    write_text(folder / "supervised.jsonl", "".join(json.dumps(line) + "\n" for line in losses))
    save_supervised(lm, tokenizer, target)
    return started


def _fingerprint(recipe: Recipe) -> dict[str, Any]:
    """Flat settings that determine the numbers of a run."""

    def flat(value: Any, path: str) -> dict[str, Any]:
        if path in _FREE:
            return {}
        if isinstance(value, Mapping) and value:
            return {k: v for key, item in value.items() for k, v in flat(item, f"{path}.{key}" if path else key).items()}
        return {path: value}

    settings = flat(recipe.model_dump(mode="json"), "")
    if recipe.optimizer.lr_scheduler_type in ("linear", "cosine"):
        settings["training.iterations"] = recipe.training.iterations
    # Files that a path names may change while the path stays.
    files = [recipe.data.train, recipe.data.validation, recipe.data.test] if recipe.data is not None else []
    for path in [*files, *_reward_files(recipe)]:
        if path is not None and Path(path).is_file():
            with open(path, "rb") as file:
                settings[file_key(path)] = hashlib.file_digest(file, "sha256").hexdigest()
    return settings


def _reward_files(recipe: Recipe) -> list[str]:
    """Python files of the reward and of the rewards inside it."""

    def names(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            if isinstance(value.get("name"), str):
                yield value["name"]
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from names(item)

    found = names(recipe.reward.model_dump(mode="json")) if recipe.reward is not None else iter(())
    return sorted({name.rpartition(":")[0] for name in found if is_path(name)})


def _resume(loop: Loop, display: Display) -> None:
    tidy(loop.checkpoints.folder)
    step, notes = loop.checkpoints.latest()
    if step is None and notes:
        raise CheckpointError(f"{loop.checkpoints.folder}: no checkpoint is usable, so the run cannot be continued: " + "; ".join(notes))
    if step is not None:
        notes += loop.checkpoints.load(step, loop.state)
        load_state(loop.reward, loop.state.reward)
        iterations = loop.recipe.training.iterations
        if step > iterations:
            raise ConfigError(
                f"training.iterations: {iterations}, but the run is at iteration {step} already; name {step} or more, or another output_dir"
            )
        loop.checkpoints.drop_after(step)
        loop.checkpoints.prune(loop.state)  # what was due when the run was killed
    notes += loop.log.cut_after(loop.state.step, loop.state.unlogged is not None)
    notes.append(f"resuming after iteration {loop.state.step}" if step is not None else "no checkpoint yet: starting over")
    for line in notes:
        display.console.print(line, markup=False, soft_wrap=True)
