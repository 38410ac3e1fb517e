"""What scripts and notebooks call: `rl4lms.train`, `evaluate` and `generate`, which take names, files and objects."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rl4lms import recipes
from rl4lms.api.given import SPLITS, Given, given_data, given_model
from rl4lms.api.unread import Asked, evaluated_split, refuse_unread
from rl4lms.config import merge_defaults, read_recipe, recipe_from_dict
from rl4lms.config.data import DataConfig
from rl4lms.config.generation import SamplingConfig
from rl4lms.config.handed import Handed, plain
from rl4lms.config.model import ModelConfig
from rl4lms.config.recipe import Recipe
from rl4lms.config.resolve import nested
from rl4lms.errors import ConfigError
from rl4lms.evaluation.evaluator import EvalResult
from rl4lms.evaluation.sample import sample
from rl4lms.plugins.files import refuse_while_executing
from rl4lms.runs.display import Display, without_bars
from rl4lms.runs.layout import is_run
from rl4lms.runs.recipe import read_run
from rl4lms.training.evaluate import evaluate as evaluate_recipe
from rl4lms.training.evaluate import trained_model
from rl4lms.training.result import RunResult
from rl4lms.training.run import run, run_folder
from rl4lms.types import Rollout, Split

_SOURCE = "<arguments>"
_OF_SAMPLING = ("temperature", "top_k", "top_p")  # a beam search would not read them


def train(
    source: Any = None,
    /,
    *,
    tokenizer: Any = None,
    data: Any = None,
    callbacks: Iterable[Any] = (),
    resume: bool = False,
    progress: bool | None = None,
    overrides: Iterable[str] = (),
    **settings: Any,
) -> RunResult:
    """Train a language model.

    Args:
        source: the model: a Hub id, a folder, `asset:<name>` of the task, or an object of transformers or PEFT, which
            is copied and stays as it is; where None, that of the task. Or a recipe: a file, the name of one that comes
            with the package, or a `Recipe`. Or the folder of a run that is to be resumed.
        tokenizer: a Hub id, a folder, or an object; the model's own where None.
        data: prompts: a file, a Hub id, a folder that `Dataset.save_to_disk` wrote; a list of rows or of prompts, a
            `datasets.Dataset`, a `DatasetDict`, a pandas `DataFrame`; or the block `data`, whose splits may be any of
            them. What is an object is written to the run folder.
        callbacks: objects with the methods of `transformers.TrainerCallback`; see `rl4lms.training.callbacks`.
        resume: continue the run in the run folder from its last checkpoint.
        progress: show progress on standard error; as the recipe says when None.
        overrides: dotted settings as on the command line, such as `"rollout.top_p=0.9"`.
        settings: blocks of the recipe, merged into those of a recipe that is given: `task="imdb"`, `algorithm="nlpo"`,
            `rollout={"top_p": 0.9}`. `reward` may be a function, several in a list (their sum), or functions inside
            other rewards; metrics may be functions, too.

    Returns:
        A `RunResult`.

    Raises:
        ConfigError: the settings cannot be understood, or the run folder holds another run.
        Rl4lmsError: what went wrong, where, and what to do.
        Interrupted: Ctrl-C (SIGINT), SIGTERM or SIGHUP arrived. The iteration was finished and saved; call again with
            `resume=True`. It is a `KeyboardInterrupt`, so that a script ends as people expect. A second signal ends the
            run at once.
    """
    refuse_while_executing("rl4lms.train")
    handed = Handed()
    if source is None and not isinstance(settings.get("model"), Mapping | BaseModel):
        source = settings.pop("model", None)
    recipe, given = _recipe(source, _kind(source), tokenizer, data, settings, overrides, handed, resume=resume)
    recipe = _placed(recipe, given, run_folder(recipe))
    more: dict[str, Any] = {"prepare": given.write, "callbacks": callbacks, "lost": handed.lost()}
    with handed.known(), without_bars():
        return run(recipe, resume=resume, progress=progress, **more)


def evaluate(
    source: Any = None,
    /,
    *,
    tokenizer: Any = None,
    data: Any = None,
    split: Split | None = None,
    masked: bool = False,
    progress: bool = False,
    overrides: Iterable[str] = (),
    **settings: Any,
) -> EvalResult:
    """Decode a split and score it with the metrics and the reward of a run or recipe, or with those that are given.

    Args:
        source: a run folder or a `RunResult` (its trained model), a recipe (its model before training), or any model as
            `train` takes it, with `task` or `data`.
        tokenizer, data, overrides, settings: as those of `train`. Of a list of rows or a single file, all of it is
            evaluated. Functions are metrics in `evaluation={"metrics": [function]}`, and the `reward`.
        split: which prompts; where None, those of `evaluation.split` if a recipe says it, else (and of a run) test.
        masked: decode inside the mask that a run ended with.
        progress: show progress on standard error.

    Returns:
        Results by key, and one record for each completion.

    Raises:
        ConfigError: a setting cannot be understood, or would change nothing.
        Rl4lmsError: whatever cannot be loaded or computed.
    """
    refuse_while_executing("rl4lms.evaluate")
    source = source.folder if isinstance(source, RunResult) else source
    handed, overrides = Handed(), list(overrides)
    kind = _kind(source)
    if kind == "run" and data is not None:
        raise ConfigError(
            f"data: {source} is a run, which has prompts of its own; evaluate its model: "
            f"rl4lms.evaluate({str(Path(source) / 'model')!r}, data=...)"
        )
    if data is not None and not isinstance(data, Mapping):
        data = dict.fromkeys(SPLITS, data)
    unread = {"reward", "algorithm"} - {text.partition(".")[0].partition("=")[0] for text in overrides}
    recipe, given = _recipe(source, kind, tokenizer, data, settings, overrides, handed, unread=unread)
    split = evaluated_split(recipe, split, is_run=kind == "run")
    asked = Asked(split=split, masked=masked, is_run=kind == "run", is_model=kind == "model")
    written = plain(nested(settings, _SOURCE), _SOURCE, Handed())
    refuse_unread(recipe, [*(f"{key}={json.dumps(value)}" for key, value in written.items()), *overrides], asked)
    folder = Path(source) if kind == "run" else None
    shown = Display(progress, texts=False)
    with tempfile.TemporaryDirectory() as temporary, handed.known(), without_bars(), shown as display:
        recipe = _placed(recipe, given, Path(temporary))
        given.write(Path(temporary))
        return evaluate_recipe(recipe, run_folder=folder, split=split, masked=masked, display=display)


def generate(
    source: Any,
    prompts: str | Sequence[str | Sequence[Mapping[str, Any]]],
    /,
    *,
    tokenizer: Any = None,
    n: int | None = None,
    seed: int = 0,
    system: str | None = None,
    chat: bool = False,
    **decoding: Any,
) -> list[Any]:
    """Sample completions of prompts.

    Args:
        source: a run folder or a `RunResult` (its trained model, decoded as its evaluations do), or a model as `train`
            takes it. Where a run's evaluations search with beams, so does this, unless `n`, `temperature`, `top_k` or
            `top_p` asks for samples.
        prompts: texts to continue, or conversations to answer, which are lists of messages (`{"role": "user",
            "content": "..."}`). Those of a run are rendered as the run did.
        tokenizer: as that of `train`.
        n: completions of each prompt.
        seed: the same seed gives the same texts, whatever is generated beside them.
        system: a message of the system, before conversations that have none.
        chat: a text is a message of the user.
        decoding: `max_new_tokens` (48), `temperature` (1; 0 is greedy), `top_k`, `top_p`, `min_new_tokens`,
            `stop` (a list of texts, with one of which a completion ends).

    Returns:
        One text for each prompt; with `n`, a list of n texts for each.

    Raises:
        ConfigError: a setting cannot be understood, or has no effect.
        DataError: there are no prompts, or one is neither a text nor a conversation.
        ModelError: the model cannot be loaded, or has no chat template for conversations.
    """
    given = [prompts] if isinstance(prompts, str) else list(prompts)
    how: dict[str, Any] = {"tokenizer": tokenizer, "number": n or 1, "seed": seed, "system": system, "chat": chat}
    with without_bars():
        rollout, _ = sampled(source, given, decoding, **how)
    found = rollout.completions
    return found if n is None else [found[i : i + n] for i in range(0, len(found), n)]


def sampled(
    source: Any,
    prompts: Sequence[str | Sequence[Mapping[str, Any]]],
    decoding: Mapping[str, Any],
    *,
    tokenizer: Any = None,
    number: int = 1,
    seed: int = 0,
    system: str | None = None,
    chat: bool = False,
) -> tuple[Rollout, str]:
    """Return the rollout that `generate` takes its texts from, and what there is to note; arguments as there,
    and `number` completions of each prompt.
    """
    source = source.folder if isinstance(source, RunResult) else source
    how: dict[str, Any] = {"number": number, "seed": seed, "system": system, "chat": chat}
    if _kind(source) == "run":
        if tokenizer is not None:
            raise ConfigError(f"tokenizer: {source} is a run, whose model has its own; leave it out")
        # of a run, only its model, its prompts' limits and how it decodes are needed
        run = read_run(Path(source), unread=("task", "reward", "algorithm", "evaluation"))
        usual = run.decoding.model_dump(include=set(SamplingConfig.model_fields)) | dict(decoding)
        how |= {"prompt": run.prompt, "device": run.device}
        if run.decoding.num_beams == 1:
            return sample(trained_model(run, Path(source)), prompts, usual, **how)
        sampling = [name for name in _OF_SAMPLING if name in decoding]
        if number == 1 and not sampling:
            how["beams"] = run.decoding.model_dump(include={"num_beams", "length_penalty"})
            return sample(trained_model(run, Path(source)), prompts, usual, **how)
        why = f"{sampling[0]} was given" if sampling else f"{number} completions of each prompt were asked for"
        rollout, note = sample(trained_model(run, Path(source)), prompts, usual, **how)
        beams = f"sampled, since {why}; this run's evaluations search with {run.decoding.num_beams} beams"
        return rollout, f"{note}; {beams}" if note else beams
    block, model, own = given_model(source, tokenizer)
    given = Given(model, own)
    with tempfile.TemporaryDirectory() as temporary:
        given.write(Path(temporary))
        block = given.settings(Path(temporary), {"model": block})["model"]
        return sample(ModelConfig(**block), prompts, decoding, **how)


def _kind(source: Any) -> str:
    """Return what a source is: `model`, `recipe`, `file` of a recipe, `run` folder; nothing where there is none."""
    if source is None or isinstance(source, Mapping):
        return ""
    if isinstance(source, Recipe):
        return "recipe"
    if not isinstance(source, str | Path):
        return "model"
    name = str(source)
    if is_run(Path(name)):
        return "run"
    return "file" if name.endswith((".yaml", ".yml")) or name in recipes.names() else "model"


def _recipe(
    source: Any,
    kind: str,
    tokenizer: Any,
    data: Any,
    settings: Mapping[str, Any],
    overrides: Iterable[str],
    handed: Handed,
    *,
    resume: bool = True,
    unread: Collection[str] = (),
) -> tuple[Recipe, Given]:
    """Return the recipe that arguments amount to, and the objects among them, whose places in it are still open."""
    blocks, given = nested(settings, _SOURCE), Given()
    if isinstance(blocks.get("model"), BaseModel):
        blocks["model"] = blocks["model"].model_dump(mode="json", exclude_unset=True)
    named = isinstance(blocks.get("model"), Mapping) and "path" in blocks["model"]
    if not kind and not named and "task" not in blocks:  # which may have a model
        raise ConfigError("name what it is about first: a model, a recipe, the folder of a run; or task=... alone")
    if kind == "run" and not resume:
        raise ConfigError(f"{source} is the folder of a run; pass resume=True to continue it, or name {source}/model")
    if data is not None:
        blocks["data"], given.rows = given_data(data)
    block: dict[str, Any] = {}
    if kind == "model" or tokenizer is not None:
        block, given.model, given.tokenizer = given_model(source if kind == "model" else "", tokenizer)
        if kind != "model":
            del block["path"]
    if block:
        blocks["model"] = merge_defaults(blocks.get("model") or {}, block)
    blocks = plain(blocks, _SOURCE, handed)
    with handed.known():
        if kind == "run":
            return read_run(Path(source), list(overrides), set(unread) - blocks.keys(), blocks), given
        if kind == "file":
            return read_recipe(recipes.find(str(source)), overrides, settings=blocks), given
        if kind == "recipe":
            if not blocks and not overrides:
                return source, given
            # Without its defaults: the learning rate is one that depends on what is trained.
            blocks = merge_defaults(blocks, source.model_dump(mode="json", exclude_unset=True))
        return recipe_from_dict(blocks, _SOURCE, overrides), given


def _placed(recipe: Recipe, given: Given, folder: Path) -> Recipe:
    """Return the recipe with the files that objects are written to."""
    if not given:
        return recipe
    blocks = {"model": recipe.model.model_dump(mode="json")}
    if recipe.data is not None:
        blocks["data"] = recipe.data.model_dump(mode="json")
    found = given.settings(folder, blocks)
    update: dict[str, Any] = {"model": ModelConfig(**found["model"])}
    if "data" in found:
        update["data"] = DataConfig(**found["data"])
    return recipe.model_copy(update=update)
