"""From a recipe to a trained model: puts the pieces together, and is what `rl4lms.train` and the command line call."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

import rl4lms
from rl4lms import registry
from rl4lms.algorithms.base import Algorithm, Learner
from rl4lms.config import dump_recipe, read_recipe, recipe_from_dict
from rl4lms.config.algorithms import SupervisedConfig
from rl4lms.config.base import Component
from rl4lms.config.generation import EvalGenerationConfig, SamplingConfig
from rl4lms.config.recipe import Recipe
from rl4lms.errors import CheckpointError, ConfigError
from rl4lms.evaluation import EvalResult, Evaluator
from rl4lms.metrics import build as build_metric
from rl4lms.models.build import Models, build_models
from rl4lms.models.loading import load_lm, load_tokenizer, position_windows, resolve_device, special_tokens
from rl4lms.models.saving import save_model
from rl4lms.rewards import build as build_reward
from rl4lms.rollout.engine import LocalEngine
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.tasks import build as build_task
from rl4lms.tasks.files import FileTask
from rl4lms.training import assets
from rl4lms.training.card import environment, model_card
from rl4lms.training.checkpoint import Checkpoints, TrainState, load_policy
from rl4lms.training.display import Display
from rl4lms.training.loop import Loop
from rl4lms.training.optimizer import Schedule, build_optimizer
from rl4lms.training.supervised import fit, save_supervised
from rl4lms.training.tracking import RunLog
from rl4lms.types import Reward, Sample, Task

CONFIG_FILE = "config.resolved.yaml"
# Settings that a resumed run may change: they do not move the numbers.
_FREE = ("name", "output_dir", "device", "tracking", "checkpoint.every", "checkpoint.keep_last", "push_to_hub", "training.iterations")


@dataclass(frozen=True, slots=True)
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
    _open_folder(folder, recipe, resume)
    with Display(recipe.tracking.progress if progress is None else progress) as display:
        loop, evaluated = assemble(recipe, folder, reward=reward, display=display)
        if resume:
            _resume(loop, display)
            (folder / CONFIG_FILE).write_text(dump_recipe(recipe), encoding="utf-8")  # what may change on resume may have changed
        loop.run()
        loop.log.close()
        if not evaluated:  # resumed after the last iteration
            loop.evaluate(loop.state.step)
    return _finish(recipe, folder, loop, evaluated)


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
    recipe: Recipe, folder: Path, *, reward: Reward | None = None, display: Display | None = None
) -> tuple[Loop, dict[str, EvalResult]]:
    """Builds everything a run needs; the second result fills with the latest evaluation (`eval/`, `eval/masked/`)."""
    display = display or Display(enabled=False)
    task, fingerprint = task_of(recipe), _fingerprint(recipe)
    recipe = with_assets(recipe, task, display)
    device = resolve_device(recipe.device)
    algorithm_class = registry.algorithms.get(recipe.algorithm.name)
    only_supervised = recipe.algorithm.name == "supervised"
    if only_supervised:
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"iterations": 0})})
    if recipe.supervised is not None or only_supervised:
        recipe = _warm_start(recipe, task, folder, device, display)
    settings = recipe.evaluation.generation
    if settings is not None and settings.mask and not algorithm_class.needs_mask_policy:
        raise ConfigError(f"evaluation.generation.mask: {recipe.algorithm.name} has no mask to decode in; leave it out")
    if reward is None and recipe.reward is not None:
        reward = build_reward(recipe.reward)
    if reward is None and not only_supervised:
        raise ConfigError("reward: none is named; RL needs one, for example reward: {name: path/to/file.py:function}")

    torch.manual_seed(recipe.seed)
    models = build_models(recipe.model, device, value=algorithm_class.needs_value, mask=algorithm_class.needs_mask_policy)
    check_window(recipe, models.policy.lm)
    optimizer = build_optimizer(models.policy, recipe.optimizer)
    learner = Learner(models.policy, optimizer, recipe.optimizer, recipe.rollout.temperature, recipe.seed, models.mask_policy)
    options_model = registry.algorithms.config_model(recipe.algorithm.name)
    options = options_model(**recipe.algorithm.options) if options_model is not None else recipe.algorithm.options
    algorithm: Algorithm = algorithm_class(options, learner)
    engine = LocalEngine.create(models.policy, models.tokenizer, recipe.prompt, recipe.seed)
    evaluator = build_evaluator(recipe, task, models, reward)
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
        state=TrainState(models.policy, optimizer, models.mask_policy, kl_coef=recipe.kl.kl_coef),
        checkpoints=Checkpoints(folder / "checkpoints", recipe.checkpoint.keep_last, fingerprint),
        log=log,
        evaluate=evaluate,
        after_step=lambda step, numbers: display.iteration(recipe.algorithm.name, step, recipe.training.iterations, numbers),
    )
    return loop, evaluated


def build_evaluator(recipe: Recipe, task: Task, models: Models, reward: Reward | None, split: str | None = None) -> Evaluator:
    """An evaluator of the recipe's split (or another), with its metrics and the reward."""
    samples = task.samples(split or recipe.evaluation.split)[: recipe.evaluation.prompts]  # type: ignore[arg-type]
    metrics = [build_metric(component) for component in recipe.evaluation.metrics]
    engine = LocalEngine.create(models.policy, models.tokenizer, recipe.prompt, recipe.seed)
    return Evaluator(engine, models.ref_policy, samples, eval_settings(recipe), metrics, reward)


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
    save_supervised(lm, tokenizer, target)
    lines = "".join(json.dumps(line) + "\n" for line in losses)
    (folder / "supervised.jsonl").write_text(lines, encoding="utf-8")
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
    if recipe.reward is not None and ":" in recipe.reward.name:
        files.append(recipe.reward.name.rpartition(":")[0])
    for path in files:
        if path is not None and Path(path).is_file():
            with open(path, "rb") as file:
                settings[f"sha256 of {path}"] = hashlib.file_digest(file, "sha256").hexdigest()
    return settings


def _open_folder(folder: Path, recipe: Recipe, resume: bool) -> None:
    config = folder / CONFIG_FILE
    if resume and not config.is_file():
        raise CheckpointError(f"{folder}: no run to resume there ({CONFIG_FILE} is missing)")
    # A run that failed before its first evaluation left nothing to lose.
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not resume and not present <= {CONFIG_FILE, "env.json", "samples", "checkpoints"}:
        raise ConfigError(f"{folder}: the run folder is not empty; add --resume to continue it, or name another output_dir")
    folder.mkdir(parents=True, exist_ok=True)
    if not resume:
        config.write_text(dump_recipe(recipe), encoding="utf-8")
        (folder / "env.json").write_text(json.dumps(environment(), indent=1) + "\n", encoding="utf-8")


def _resume(loop: Loop, display: Display) -> None:
    step, complaints = loop.checkpoints.latest()
    for line in complaints:
        display.console.print(line)
    if step is None and complaints:
        raise CheckpointError(
            f"{loop.checkpoints.folder}: no checkpoint is usable, so the run cannot be continued: " + "; ".join(complaints)
        )
    if step is not None:
        loop.checkpoints.load(step, loop.state)
        loop.checkpoints.drop_after(step)
    loop.log.cut_after(loop.state.step or -1)  # the evaluation before training is logged anew
    display.console.print(f"resuming after iteration {loop.state.step}" if step is not None else "no checkpoint yet: starting over")


def _finish(recipe: Recipe, folder: Path, loop: Loop, evaluated: Mapping[str, EvalResult]) -> RunResult:
    numbers = {prefix + key: r for prefix, result in evaluated.items() for key, r in result.results.items()}
    models = loop.models
    card = model_card(recipe, numbers, loop.state.step)
    save_model(models.policy, models.tokenizer, folder / "model", card)
    task = loop.recipe.task or Component(name="data")
    result = {
        "name": recipe.name,
        "seed": recipe.seed,
        "task": {"name": task.name, **task.options, "version": getattr(task_of(recipe), "version", 1)},
        "algorithm": recipe.algorithm.name,
        "iterations": loop.state.step,
        "best": loop.state.best,
        "rl4lms": rl4lms.__version__,
        "python": platform.python_version(),
        "eval": {key: {"mean": r.mean, "stderr": r.stderr, "n": r.n} for key, r in sorted(numbers.items())},
    }
    if loop.state.best:
        load_policy(loop.checkpoints.path(int(loop.state.best["step"])) / "policy.safetensors", models.policy)
        save_model(models.policy, models.tokenizer, folder / "best", card)
    temporary = folder / "result.json.writing"
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / "result.json")
    if recipe.push_to_hub is not None:
        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo(recipe.push_to_hub.repo_id, private=recipe.push_to_hub.private, exist_ok=True)
        api.upload_folder(repo_id=recipe.push_to_hub.repo_id, folder_path=folder / "model")
    return RunResult(folder, folder / "model", {key: r.mean for key, r in numbers.items()})
