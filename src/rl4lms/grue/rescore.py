"""Metrics of texts that are there already: of a file of anybody's predictions, or of the cells of a grid.

References and columns come from the task by the id of each prompt, never from the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl4lms.config.recipe import Recipe
from rl4lms.errors import DataError, did_you_mean
from rl4lms.evaluation.build import metrics_of
from rl4lms.evaluation.evaluator import by_prompt, drawn
from rl4lms.evaluation.text_files import read_texts
from rl4lms.metrics.call import compute_all
from rl4lms.plugins import registry
from rl4lms.supervised.assets import resolve
from rl4lms.tasks import samples_of, task_of
from rl4lms.types import Metric, MetricResult, Sample, Split


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a system wrote for a prompt.

    Attributes:
        id: of the prompt in its split.
        prompt: as far as the system saw it.
        completion: what it wrote.
        text: both as one; None where that is not known.
        where: names the row in messages.
    """

    id: str
    prompt: str
    completion: str
    text: str | None
    where: str


@dataclass(frozen=True, slots=True)
class Rescored:
    """What metrics say of predictions.

    Attributes:
        results: by key.
        absent: metrics that could not be computed, with the reason.
        samples: a record of each prediction with its values.
        prompts: how many the split has.
    """

    results: dict[str, MetricResult]
    absent: dict[str, str]
    samples: list[dict[str, Any]]
    prompts: int


def read_predictions(path: str, samples: Sequence[Sample]) -> list[Prediction]:
    """Read a file of predictions: a row for each prompt with `id`, or `prompt`, and `completion`.

    Raises:
        DataError: a row names no prompt, or says that it is of another prompt than its id.
    """
    texts = read_texts(path)
    id_of = {sample.prompt: sample.id for sample in samples}
    whole_by_id = {sample.id: sample.prompt for sample in samples}
    found = []
    for number, place in enumerate(texts.places):
        prompt = texts.full_prompts[number] or texts.prompts[number]
        given = texts.ids[number]
        if given is None and not prompt:
            raise DataError(f"{place}: needs the column 'id' or 'prompt', which says what was answered")
        if given is None and prompt not in id_of:
            raise DataError(f"{place}: no prompt of the split is {prompt[:60]!r}; name it by its id")
        name = str(given) if given is not None else id_of[prompt]
        whole = whole_by_id.get(name, prompt)  # an id that is not there is told by the scorer
        if prompt.strip() not in whole:
            raise DataError(f"{place}: the prompt {name!r} is {whole[:60]!r}, not {prompt[:60]!r}")
        text = None if texts.texts is None else texts.texts[number]
        found.append(Prediction(name, texts.prompts[number], texts.completions[number], text, place))
    return found


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores predictions on a split of a task. Making one builds metrics, and their corpora and models.

    Metrics that need the policy are absent, and so is the reward: what is reported never comes from what was optimised.

    Attributes:
        split: where the prompts are from.
        samples: by id, all of the split.
        metrics: those that need no more than texts.
        absent: the others, with the reason.
    """

    split: Split
    samples: Mapping[str, Sample]
    metrics: Sequence[Metric]
    absent: Mapping[str, str]

    @classmethod
    def of(cls, recipe: Recipe, split: Split) -> Scorer:
        """Build it from the task and the metrics of a recipe; classifiers of the task are built where they are not
        there.
        """
        task = task_of(recipe)
        evaluation = type(recipe.evaluation)(**resolve(recipe.evaluation.model_dump(mode="json"), task))
        why = "it measures the model, and there are only its texts"
        targets = {metric.name: registry.metrics.get(metric.name) for metric in evaluation.metrics}
        left_out = {name: why for name, target in targets.items() if getattr(target, "needs_policy", False)}
        kept = [metric for metric in evaluation.metrics if metric.name not in left_out]
        evaluation = evaluation.model_copy(update={"metrics": kept})
        metrics, absent = metrics_of(recipe.model_copy(update={"evaluation": evaluation, "reward": None}), task)
        return cls(split, {sample.id: sample for sample in samples_of(task, split)}, metrics, {**absent, **left_out})

    def drawn(self, recipe: Recipe) -> list[str]:
        """Return the ids of the prompts that an evaluation of a recipe draws."""
        samples = drawn(list(self.samples.values()), recipe.evaluation.prompts, recipe.evaluation.prompt_seed)
        return [sample.id for sample in samples]

    def __call__(
        self, predictions: Sequence[Prediction], *, wanted: Sequence[str] | None = None, each: int = 1
    ) -> Rescored:
        """Compute the metrics.

        Args:
            predictions: of the prompts; those of one prompt stand together.
            wanted: the prompts that must be answered; None: all of the split.
            each: how many predictions a prompt has.

        Raises:
            DataError: a prediction is of no prompt, a prompt has more or fewer than `each`, or one is missing.
        """
        seen: dict[str, int] = {}
        for row in predictions:
            if row.id not in self.samples:
                known = did_you_mean(row.id, self.samples)
                raise DataError(f"{row.where}: no prompt {row.id!r} in the {self.split} split; {known}")
            seen[row.id] = seen.get(row.id, 0) + 1
            if seen[row.id] > each:
                raise DataError(f"{row.where}: prediction {seen[row.id]} for the prompt {row.id!r}, which has {each}")
        for name, count in seen.items():
            if count < each:
                raise DataError(f"the prompt {name!r} has {count} of {each} predictions")
        asked = list(self.samples) if wanted is None else wanted
        missing = [name for name in asked if name not in seen]
        if missing:
            some = f"{len(missing):,} of {len(asked):,} prompts of the {self.split} split"
            raise DataError(f"{some} have no prediction, such as {missing[0]!r}")
        return self._computed(predictions, each)

    def _computed(self, predictions: Sequence[Prediction], each: int) -> Rescored:
        samples = [self.samples[row.id] for row in predictions]
        texts = [row.text for row in predictions]
        names = sorted({name for sample in samples for name in sample.meta})
        results = compute_all(
            self.metrics,
            prompts=[row.prompt or sample.prompt for row, sample in zip(predictions, samples, strict=True)],
            full_prompts=[sample.prompt for sample in samples],
            completions=[row.completion for row in predictions],
            texts=None if any(text is None for text in texts) else texts,
            references=[sample.references for sample in samples],
            columns={name: [sample.meta.get(name) for sample in samples] for name in names},
        )
        records: list[dict[str, Any]] = [
            {"id": row.id, "prompt": sample.prompt, "completion": row.completion, "references": list(sample.references)}
            | ({} if row.text is None else {"text": row.text})
            for row, sample in zip(predictions, samples, strict=True)
        ]
        for result in results:
            if result.values is not None:
                for record, value in zip(records, result.values, strict=True):
                    record[result.key] = None if value != value else value
        return Rescored({r.key: by_prompt(r, each) for r in results}, dict(self.absent), records, len(self.samples))
