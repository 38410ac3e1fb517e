"""`rl4lms check task`: what must be true of the data of a task, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from rl4lms.checks.doctor import Verdict
from rl4lms.config.recipe import Recipe
from rl4lms.errors import DataError, Rl4lmsError
from rl4lms.evaluation.build import metrics_of, without_models
from rl4lms.metrics.call import compute, name_of
from rl4lms.models.loading import load_tokenizer
from rl4lms.plugins import calling
from rl4lms.supervised.assets import PREFIX, load_target, word_tokenizer
from rl4lms.tasks import task_of
from rl4lms.tasks.dataset import SPLITS
from rl4lms.types import Metric, Sample, Split, Task

#: What a text that is one of its references gets, where that does not depend on its length.
_BEST = {
    "rouge1": 1.0,
    "rougeL": 1.0,
    "rougeLsum": 1.0,
    "rouge_l_max": 1.0,
    "bleu-1": 1.0,
    "token_f1": 1.0,
    "exact_match": 1.0,
    "sacrebleu": 100.0,
    "chrf": 100.0,
    "chrf++": 100.0,
    "ter": 0.0,
    "totto_bleu": 100.0,
    "concept_coverage": 1.0,
}
_NEAR = 0.02  # of the best, which tokenisers and stemmers may miss
_SCORED = 500  # rows
_NOT_ABOUT = "it is no more of a row's own reference than of another's: it measures something else"


def check_task(recipe: Recipe) -> Iterator[Verdict]:
    """Check the data of a recipe's task, in the order in which they depend on each other.

    Args:
        recipe: names the task, and says how prompts are cut and what is measured.
    """
    task = task_of(recipe)
    splits: dict[Split, Sequence[Sample]] = {}
    wrong = False
    for split in SPLITS:
        try:
            splits[split] = task.samples(split)
        except DataError as error:
            hidden = "hidden" in str(error)
            wrong |= not hidden
            yield Verdict(f"{split}", "warn" if hidden else "fail", "cannot be read", str(error))
            continue
        verdict = _texts(split, splits[split])
        wrong |= verdict.status == "fail"
        yield verdict
    if wrong:
        yield Verdict("the rest", "warn", "not checked", "mend the splits first")
        return
    yield from _splits(task, splits)
    yield from _counts(task)
    yield _lengths(recipe, task, splits)
    yield from _scores(recipe, task, next(reversed(splits.values())))


def _texts(split: Split, samples: Sequence[Sample]) -> Verdict:
    """Ids unique, no text empty."""
    ids = [sample.id for sample in samples]
    faults = {
        "no prompts": len(samples) == 0,
        "an id stands twice": len(set(ids)) < len(ids),
        "an empty prompt": any(not sample.prompt.strip() and not sample.messages for sample in samples),
        "a prompt without references": any(not sample.references for sample in samples),
        "an empty reference": any(not text.strip() for sample in samples for text in sample.references),
        "a reference stands twice": any(len(set(s.references)) < len(s.references) for s in samples),
    }
    found = [name for name, there in faults.items() if there]
    references = sum(len(sample.references) for sample in samples)
    figure = f"{len(samples):,} prompts, {references:,} references"
    return Verdict(split, "fail" if found else "ok", figure, "; ".join(found))


def _splits(task: Task, splits: Mapping[Split, Sequence[Sample]]) -> Iterator[Verdict]:
    """No prompt and no document is in two splits.

    Published data that are split by documents may share a prompt all the same: many a talk has "Thank you.".
    """
    documents = getattr(task, "documents", None)
    of_documents = None if documents is None else _shared({split: documents(split) for split in splits}, "documents")
    prompts = _shared({split: {sample.prompt for sample in found} for split, found in splits.items()}, "prompts")
    by_documents = task.edition == "full" and of_documents == ""
    why = f"{prompts}; their documents are in one split each" if prompts and by_documents else prompts
    yield _disjoint("disjoint prompts", why, "warn" if by_documents else "fail")
    if of_documents is not None:
        yield _disjoint("disjoint documents", of_documents, "fail")


def _disjoint(name: str, shared: str, worst: Literal["warn", "fail"]) -> Verdict:
    return Verdict(name, worst, "some are in two splits", shared) if shared else Verdict(name, "ok", "in no two splits")


def _shared(splits: Mapping[Split, set[str]], what: str) -> str:
    """Say which splits share what; nothing where none do."""
    names = list(splits)
    return "; ".join(
        f"{len(both):,} {what} are in {one} and in {other}, such as {min(both)[:60]!r}"
        for i, one in enumerate(names)
        for other in names[i + 1 :]
        if (both := splits[one] & splits[other])
    )


def _counts(task: Task) -> Iterator[Verdict]:
    """Compare with what those who publish the data say, where the task tells."""
    published: Mapping[Split, int] = getattr(task, "published", {})
    read = getattr(task, "examples", None)
    if not published or read is None or task.edition != "full":
        return
    for split, count in published.items():
        found = sum(1 for _ in read(split))
        if found == count:
            yield Verdict(f"{split} rows", "ok", f"{found:,}, as published")
        else:
            why = "the files are not complete" if found < count else "these are other files"
            yield Verdict(f"{split} rows", "warn" if found < count else "fail", f"{found:,} of {count:,}", why)


def _lengths(recipe: Recipe, task: Task, splits: Mapping[Split, Sequence[Sample]]) -> Verdict:
    """How many prompts are cut: none of a mini edition may be."""
    path = recipe.model.path
    if path.startswith(PREFIX):
        words = load_target(task.models[path.removeprefix(PREFIX)].vocabulary)()
        tokenizer: Any = word_tokenizer(words)
    else:
        try:
            tokenizer = load_tokenizer(recipe.model)
        except Rl4lmsError as error:
            return Verdict("lengths", "warn", "not checked", f"the tokenizer of {path} cannot be had: {error}")
    texts = [sample.prompt for found in splits.values() for sample in found]
    affix = recipe.prompt.prefix, recipe.prompt.suffix
    ids = tokenizer([f"{affix[0]}{text}{affix[1]}" for text in texts], verbose=False)["input_ids"]
    longest = max(len(row) for row in ids)
    cut = sum(len(row) > recipe.prompt.max_tokens for row in ids)
    unknown = tokenizer.unk_token_id
    strange = sum(unknown in row for row in ids) if unknown is not None else 0
    figure = f"longest prompt {longest} tokens, limit {recipe.prompt.max_tokens}, {cut:,} of {len(ids):,} are cut"
    mini = task.edition == "mini"
    why = f"{strange:,} prompts have words that the tokenizer does not know" if strange else ""
    return Verdict("lengths", "fail" if mini and (cut or strange) else "warn" if strange else "ok", figure, why)


def _scores(recipe: Recipe, task: Task, samples: Sequence[Sample]) -> Iterator[Verdict]:
    """A reference scores (near) the best there is against itself, and better than the reference of another row."""
    light = without_models(recipe)
    some = samples[:_SCORED]
    own = [sample.references[0] for sample in some]
    others = [*own[1:], *own[:1]]
    for metric in metrics_of(light, task)[0]:
        taken = calling.parameters_of(f"metric {name_of(metric)!r}", metric)
        if getattr(metric, "needs_policy", False):
            continue
        right, wrong = _computed(metric, some, own), _computed(metric, some, others)
        gold, compares = getattr(metric, "gold", False), "references" in taken
        for key, (value, better) in right.items():
            other, best = wrong[key][0], _BEST.get(key)
            figure = f"{value:.4g}; of another row: {other:.4g}"
            if best is not None:
                near = abs(value - best) <= _NEAR * max(best, 1.0)
                why = "" if near else f"a reference should score {best:g} against itself"
                yield Verdict(key, "ok" if near else "fail", figure, why)
            elif gold:
                right_ones = value >= 1 - _NEAR or value > other
                yield Verdict(key, "ok" if right_ones else "warn", figure, "" if right_ones else _NOT_ABOUT)
            elif compares and better is not None:
                rises = value > other if better else value < other
                why = "" if rises else "the reference of another row scores as well"
                yield Verdict(key, "ok" if rises else "fail", figure, why)


def _computed(metric: Metric, samples: Sequence[Sample], texts: Sequence[str]) -> dict[str, tuple[float, bool | None]]:
    names = sorted({name for sample in samples for name in sample.meta})
    joins = ["" if text[:1].isspace() else " " for text in texts]
    results = compute(
        metric,
        completions=texts,
        prompts=[sample.prompt for sample in samples],
        references=[sample.references for sample in samples],
        texts=[f"{sample.prompt}{join}{text}" for sample, join, text in zip(samples, joins, texts, strict=True)],
        columns={name: [sample.meta.get(name) for sample in samples] for name in names},
    )
    return {result.key: (result.mean, result.higher_is_better) for result in results}
