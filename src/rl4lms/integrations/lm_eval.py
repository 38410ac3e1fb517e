"""Tasks of the benchmark for lm-evaluation-harness.

`write_tasks` makes a folder for `lm_eval run --include_path FOLDER`. There, texts are scored by this library's metrics
(`Scoring`), so that the numbers are those of `rl4lms grue score` for the same texts; only means over prompts and their
errors are the harness's own. `lm_eval_results` reads what comes out. Neither imports anything of the harness.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rl4lms.config import recipe_from_dict
from rl4lms.config.recipe import Recipe
from rl4lms.data.texts import glued
from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.rescore import Prediction, Rescored, Scorer
from rl4lms.runs.outputs import check_folder
from rl4lms.runs.storage import replacing
from rl4lms.tasks import task_of
from rl4lms.types import Sample, Split

SPLIT: Split = "test"
#: In the metadata of an exported task, and so in the harness's results: what it was exported from.
MARK = "rl4lms"
_UTILS = '''"""What lm-eval calls for this task, written by `rl4lms grue to-lm-eval`. Needs rl4lms beside lm-eval."""

import json
from pathlib import Path

from rl4lms.integrations.lm_eval import Scoring

TASK = json.loads(Path(__file__).with_name("task.json").read_text(encoding="utf-8"))
SCORING = Scoring.of(TASK)


def dataset(**metadata):
    """Return the prompts."""
    import datasets

    lines = Path(__file__).with_name("prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}


def process_results(doc, results):
    """Return the values of one completion."""
    return SCORING.of_text(doc["id"], results[0])


def of_the_set(items):
    """Return a value of all completions together."""
    return SCORING.of_set(items)
'''


def write_tasks(output: Path, recipes: Sequence[Recipe], join: str | None = None) -> dict[str, dict[str, str]]:
    """Write a folder with a task for each recipe: its YAML, its prompts, and what the harness calls.

    Args:
        output: folder that is made.
        recipes: with task, metrics and decoding; the prompts are those that an evaluation of it draws.
        join: stands between prompt and completion for metrics that read both as one text, which the harness does not
            keep; None: nothing is known to, and such metrics stop where a completion does not begin with white space.

    Returns:
        By the name of each task there, the metrics that it lacks, with the reason.

    Raises:
        ConfigError: the harness cannot do what a recipe says.
        DataError: the data cannot be read.
    """
    check_folder(output)
    absent: dict[str, dict[str, str]] = {}
    with replacing(output) as folder:
        for recipe in recipes:
            name = name_of(recipe)
            if name in absent:
                raise ConfigError(f"task {name!r} is named twice")
            (folder / name).mkdir()
            absent[name] = _write_task(folder / name, name, recipe, join)
    return absent


def name_of(recipe: Recipe) -> str:
    """Return what the harness calls a task."""
    task = task_of(recipe)
    return f"rl4lms_{task.name}_{task.edition}"


def _write_task(folder: Path, name: str, recipe: Recipe, join: str | None) -> dict[str, str]:
    generation = _generation(recipe)
    scorer = Scorer.of(recipe, SPLIT)
    samples = [scorer.samples[one] for one in scorer.drawn(recipe)]
    told: dict[str, Any] = {**_told(recipe), "join": join}
    rows = [
        {"id": sample.id, "prompt": prompt_of(recipe, sample), "references": list(sample.references)}
        for sample in samples
    ]
    (folder / "prompts.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    # which keys there are, and which have a value for each text, only values say: those of the first references
    golden = [sample.references[0] if sample.references else sample.prompt for sample in samples]
    pairs = [(sample.id, text) for sample, text in zip(samples, golden, strict=True)]
    results = _scored(scorer, pairs, " " if join is None else join).results
    of_set = [key for key, result in results.items() if result.values is None]
    told |= {"of_text": [key for key in results if key not in of_set], "of_set": of_set}
    (folder / "task.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "utils.py").write_text(_UTILS, encoding="utf-8")
    content = {
        "task": name,
        "custom_dataset": _Function("utils.dataset"),
        "test_split": SPLIT,
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "references",
        "num_fewshot": 0,
        "generation_kwargs": generation,
        "process_results": _Function("utils.process_results"),
        "metric_list": [
            {
                "metric": key,
                "aggregation": _Function("utils.of_the_set") if key in of_set else "mean",
                "higher_is_better": result.higher_is_better,
            }
            for key, result in results.items()
        ],
        "metadata": {"version": task_of(recipe).version, MARK: told},
    }
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return dict(scorer.absent)


def _told(recipe: Recipe) -> dict[str, Any]:
    """Return what scores are of, without the places of data on this machine where they are no part of it."""
    assert recipe.task is not None
    evaluation = recipe.evaluation.model_dump(mode="json", include={"metrics", "prompts", "prompt_seed"})
    return {"task": recipe.task.model_dump(mode="json"), "evaluation": evaluation}


def recipe_of(told: Mapping[str, Any], where: str) -> Recipe:
    """Return the recipe of what an exported task says of itself; `where` names it in messages."""
    blocks = {"task": told["task"], "evaluation": {"split": SPLIT, **told["evaluation"]}}
    return recipe_from_dict(blocks, where)


def prompt_of(recipe: Recipe, sample: Sample) -> str:
    """Return what the harness gives a model.

    Raises:
        ConfigError: the prompt is a conversation.
    """
    if sample.messages:
        raise ConfigError(
            f"task {task_of(recipe).name!r}: its prompts are conversations, and lm-eval makes those of a text itself "
            f"(--apply_chat_template); export a form of texts, such as task.form=causal"
        )
    return f"{recipe.prompt.prefix}{sample.prompt}{recipe.prompt.suffix}"


def _generation(recipe: Recipe) -> dict[str, Any]:
    """Return how an evaluation decodes, as `generation_kwargs`.

    Raises:
        ConfigError: the harness cannot do it, or does something else by that name.
    """
    decoding = recipe.decoding
    for key, why in {
        "stop": "lm-eval cuts a stop text off, and here it stays in the completion",
        "mask": "only a run has the policy that a mask is taken from",
    }.items():
        if getattr(decoding, key):
            raise ConfigError(f"evaluation.generation.{key}: {why}; leave it out")
    if decoding.completions_per_prompt > 1:
        raise ConfigError("evaluation.generation.completions_per_prompt: lm-eval scores one; leave it out")
    found: dict[str, Any] = {"until": [], "max_gen_toks": decoding.max_new_tokens, "num_beams": decoding.num_beams}
    found |= {"min_new_tokens": decoding.min_new_tokens} if decoding.min_new_tokens else {}
    if decoding.num_beams > 1:
        return found | {"do_sample": False, "length_penalty": decoding.length_penalty}
    if decoding.temperature == 0:
        return found | {"do_sample": False}
    sampling = {name: getattr(decoding, name) for name in ("temperature", "top_k", "top_p")}
    return found | {"do_sample": True, **sampling}


def _scored(scorer: Scorer, pairs: Iterable[tuple[str, str]], join: str | None) -> Rescored:
    """Score completions of prompts that are named by their ids."""
    rows = [Prediction(name, "", text, whole_text(scorer.samples.get(name), text, join), name) for name, text in pairs]
    return scorer(rows, wanted=[])


def whole_text(sample: Sample | None, completion: str, join: str | None) -> str | None:
    """Return prompt and completion as one text, None where it is not known; an unknown prompt is told by the scorer."""
    return None if sample is None or join is None else glued(sample.prompt, completion, join)


class _Function(str):
    """A function of a file beside the YAML."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", str(name)))


class Scoring:
    """Metrics as the harness calls them: for each completion alone, and for all together.

    Args:
        told: `task.json` of an exported task.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._keys, self._of_set, self._join = told["of_text"], told["of_set"], told["join"]
        self._recipe = recipe_of(told, "task.json")

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Scoring:
        """Return the one of a task: the harness runs a file once for every function that a YAML names."""
        return _scoring(json.dumps(told, sort_keys=True))

    @functools.cached_property
    def _scorer(self) -> Scorer:
        return Scorer.of(self._recipe, SPLIT)

    def of_text(self, prompt_id: str, completion: str) -> dict[str, Any]:
        """Return the values of one completion by key. A key that has none is left out, as from a mean; one of all
        completions together has what `of_set` needs.

        Raises:
            DataError: no such prompt, or a metric gave a key that the task was not exported with.
        """
        results = _scored(self._scorer, [(prompt_id, completion)], self._join).results
        unknown = results.keys() - {*self._keys, *self._of_set}
        if unknown:
            raise DataError(
                f"{prompt_id}: the values {sorted(unknown)} are none of the exported task's; export it again with "
                f"this version: rl4lms grue to-lm-eval"
            )
        values = {key: results[key].values for key in self._keys if key in results}
        found: dict[str, Any] = {key: value[0] for key, value in values.items() if value and not math.isnan(value[0])}
        return found | {key: [key, prompt_id, completion] for key in self._of_set}

    def of_set(self, items: Sequence[Sequence[str]]) -> float:
        """Return a value of all completions together.

        Args:
            items: what `of_text` returned for its key: key, prompt and completion of each.
        """
        (key,) = {item[0] for item in items}
        return self._of_rows(tuple((name, completion) for _, name, completion in items))[key]

    @functools.lru_cache(maxsize=1)  # noqa: B019  # one for each task, of which there are few
    def _of_rows(self, rows: tuple[tuple[str, str], ...]) -> dict[str, float]:
        results = _scored(self._scorer, rows, self._join).results
        return {key: results[key].mean if key in results else math.nan for key in self._of_set}


@functools.cache
def _scoring(told: str) -> Scoring:
    return Scoring(json.loads(told))
