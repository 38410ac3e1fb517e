"""Data pools of the original by id, as tasks of this library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rl4lms.errors import did_you_mean, shown
from rl4lms.integrations.legacy.metrics import refuse_name
from rl4lms.integrations.legacy.old_file import Section
from rl4lms.plugins.files import is_path

Tree = dict[str, Any]

_NO_SEED = "is missing, and the data pool `imdb` of the original needs one"
#: The seed of the original's other files.
SEED = 42
#: Pools that have several references of a prompt here.
SEVERAL_REFERENCES = ("commongen", "narrative_qa", "totto")
#: Pools whose references are German.
GERMAN = ("iwslt2017en_de", "wmt14_processed_en_de", "wmt16newsonly", "wmt16")


def _full(name: str, **options: Any) -> Tree:
    return {"task": {"name": name, "edition": "full", **options}}


def _dummy(args: Section) -> Tree:
    number = args.number("n_samples", 100, ge=1, le=1_000_000, whole=True)
    return {"task": {"name": "one_prompt", "prompt": args.text("prompt", may_be_empty=True), "n_samples": number}}


def _imdb(args: Section) -> Tree:
    if "seed" not in args:
        args.fault("seed", _NO_SEED, f"{SEED}, that of the other files")
    args.decide("", "the shuffle is not the original's, and references are the second half, not the whole review")
    return _full("imdb", seed=args.number("seed", SEED, ge=0, whole=True))


def _imdb_seq2seq(args: Section) -> Tree:
    if args.number("positive_ratio", 1.0, gt=0) != 1:
        args.refuse("positive_ratio", "only 1.0: the warm start learns all positive reviews; fewer: task.train_size")
    args.decide("", "shuffled once with a seed; the original shuffled anew for each split, which then overlap")
    return _full("imdb")


def _commongen(args: Section) -> Tree:
    if args.text("concept_separator_token", " ") != " ":
        args.refuse("concept_separator_token", "only ' ': the task joins concepts by a space")
    if args.text("concept_end_token", " ") != ".":
        args.refuse("concept_end_token", "only '.': the task puts it behind the concepts; write concept_end_token: '.'")
    return _full("commongen") | {"prefix": args.text("prefix", "summarize: ")}


def _affixed(name: str, **options: Any) -> Callable[[Section], Tree]:
    def pool(args: Section) -> Tree:
        affixes = {"prefix": args.text("prompt_prefix", ""), "suffix": args.text("prompt_suffix", "")}
        return _full(name, **options) | affixes

    return pool


def _cnn_daily_mail(args: Section) -> Tree:
    args.neutral(
        {
            "truncate_article": ((), "articles are cut by tokens, env.args.max_prompt_length (prompt.max_tokens)"),
            "max_size": (
                (),
                "the task takes the whole split; fewer rows of a file: data: {train: FILE, limit: N}",
            ),
        }
    )
    return _affixed("cnn_daily_mail")(args)


def _totto(args: Section) -> Tree:
    if args.text("representation", "subtable") != "subtable":
        args.refuse("representation", "only subtable: the task writes out the highlighted cells")
    args.decide("", "a table is written once, with its titles; the original wrote it twice, first without them")
    return _full("totto")


def _narrative_qa(args: Section) -> Tree:
    return _full("narrative_qa")


def _news(args: Section) -> Tree:
    languages = args.text("source_language", "en"), args.text("target_language", "de")
    if languages != ("en", "de"):
        args.refuse("target_language", f"{languages[0]} to {languages[1]}: the task translates English into German")
    if args.text("wmt_id", "wmt16") != "wmt16":
        args.refuse("wmt_id", "only wmt16")
    return _affixed("wmt16")(args)


def _news_only(args: Section) -> Tree:
    args.decide("", "from the Hub the task takes all of WMT16's train pairs; for news commentary alone: task.data_dir")
    return _affixed("wmt16")(args)


def _daily_dialog(args: Section) -> Tree:
    return _full("daily_dialog", context_size=args.number("context_size", ge=1, whole=True))


POOLS: dict[str, Callable[[Section], Tree]] = {
    "dummy_pool": _dummy,
    "imdb": _imdb,
    "imdb_seq2seq": _imdb_seq2seq,
    "commongen": _commongen,
    "totto": _totto,
    "cnn_daily_mail": _cnn_daily_mail,
    "narrative_qa": _narrative_qa,
    "wmt16": _news,
    "wmt16newsonly": _news_only,
    "iwslt2017en_de": _affixed("iwslt2017"),
    "daily_dialog": _daily_dialog,
}
_ABSENT = ("wmt14_processed_en_de", "crd3")


def datapool(section: Section) -> Tree:
    """Return the task of an old file, and `prefix` and `suffix` of prompts where the pool has them."""
    name, args = section.text("id"), section.section("args", None)
    section.end()
    if is_path(name):
        refuse_name(args)
        return {"task": {"name": name, **args.values}}
    if name in POOLS:
        found = POOLS[name](args)
        args.end()
        return found
    if name in _ABSENT:
        section.refuse("id", f"there is no task on {name}; put its rows into a file: data: {{train: FILE}}")
    elif name:
        own = "a pool of your own is {id: path/to/file.py:task}, see docs/migration.md"
        section.refuse("id", f"no data pool {shown(name)} in the original ({own}); {did_you_mean(name, POOLS)}")
    return {"task": {"name": name}}
