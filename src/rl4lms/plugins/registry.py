"""Names for components: rewards, metrics, tasks and algorithms, alike.

A registry maps a name to a target, a function or a class. A target may be a lazy string `module:attribute`, which is
imported when it is first used, so naming a component costs nothing. Components come from four places: the built-in
tables below; the decorators `@rl4lms.reward("name")`, `@rl4lms.metric("name")`, `@rl4lms.task("name")` and
`@rl4lms.algorithm("name")`; entry points of installed packages (groups `rl4lms.rewards`, `rl4lms.metrics`,
`rl4lms.tasks`, `rl4lms.algorithms`); and files, as `path/to/file.py:name`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from rl4lms.errors import ConfigError, Rl4lmsError, UnknownNameError
from rl4lms.plugins import files

F = TypeVar("F", bound=Callable[..., Any])

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered component.

    Attributes:
        name: what recipes call it.
        kind: `reward`, `metric`, `task` or `algorithm`.
        target: a function, a class, or a lazy `module:attribute` string.
        summary: one line for `rl4lms ls`.
    """

    name: str
    kind: str
    target: Callable[..., Any] | str
    summary: str = ""


class Registry:
    """Components of one kind by name.

    Args:
        kind: the word used in messages.
        group: entry-point group in which other packages announce components.
        builtins: the library's own components.
    """

    def __init__(self, kind: str, group: str, builtins: Mapping[str, Entry]) -> None:
        self.kind, self.group = kind, group
        self._entries = dict(builtins)
        self._handed: Mapping[str, Any] = {}

    @overload
    def register(self, name: str, target: None = None, *, summary: str = "") -> Callable[[F], F]: ...
    @overload
    def register(
        self, name: str, target: Callable[..., Any] | str, *, summary: str = ""
    ) -> Callable[..., Any] | str: ...
    def register(self, name: str, target: Callable[..., Any] | str | None = None, *, summary: str = "") -> Any:
        """Give `target` a name; without `target` it is a decorator.

        Registering the same function or class again replaces it: a notebook cell may be run twice, and a file may be
        imported as a module and named as `file.py:name`, which executes it under another module name.

        Raises:
            ConfigError: the name is malformed, or taken by something else.
        """
        if target is None:
            return lambda decorated: self.register(name, decorated, summary=summary)
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name a {self.kind}: use letters, digits, '_', '-' and '.'")
        entry = Entry(name, self.kind, target, summary or _first_line(target))
        taken = self._entries.get(name)
        if taken is not None and not _same(taken.target, target):
            raise ConfigError(
                f"the {self.kind} name {name!r} is taken by {target_id(taken.target)}; choose another name"
            )
        self._entries[name] = entry
        return target

    @contextlib.contextmanager
    def handed(self, objects: Mapping[str, Any]) -> Iterator[None]:
        """Know functions and objects by name for a while: those that a script hands over instead of naming them.

        Args:
            objects: by the name that a recipe has for each; one such as `file.py:name` is not looked for in the file.
        """
        before, self._handed = self._handed, {**self._handed, **objects}
        try:
            yield
        finally:
            self._handed = before

    def is_handed(self, name: str) -> bool:
        """Return whether a name stands for an object that was handed over."""
        return name in self._handed

    def entry(self, name: str) -> Entry:
        """Return what `name` is registered as. For `path/to/file.py:name` the file is executed.

        Raises:
            UnknownNameError: nothing has that name.
            ConfigError: an entry point of that name cannot be loaded, two packages claim it, or a file has no such
                component.
        """
        if name in self._handed:
            return Entry(name, self.kind, self._handed[name], _first_line(self._handed[name]))
        if files.is_path(name):
            target = files.load(self.kind, name)
            return Entry(name, self.kind, target, _first_line(target))
        points = self._entry_points().get(name, ())
        if len(points) > 1:
            raise ConfigError(f"the {self.kind} name {name!r} is claimed by several packages: {', '.join(points)}")
        if points:
            loaded = self._load(name, points[0])  # importing the module may run a decorator
            if name not in self._entries or self._load(name, self._entries[name].target) is not loaded:
                self.register(name, loaded)
        if name not in self._entries:
            raise unknown(self.kind, name, self.names())
        return self._entries[name]

    def get(self, name: str) -> Any:
        """Return the function or class registered as `name`, imported if need be. Raises as `entry` does."""
        return self._load(name, self.entry(name).target)

    def names(self) -> list[str]:
        """Return every known name, sorted."""
        return sorted(self._entries.keys() | self._entry_points().keys())

    def origin(self, name: str) -> str:
        """Say where a component comes from: `module:attribute`, or `file:line` for code that is no importable
        module.
        """
        target = self.entry(name).target
        code = getattr(target, "__code__", None)
        if code is not None and getattr(target, "__module__", None) == "__main__":
            return f"{code.co_filename}:{code.co_firstlineno}"
        return target_id(target)

    def name_of(self, target: Callable[..., Any]) -> str | None:
        """Return the name that an object is registered under, or None."""
        lazy = target_id(target) if hasattr(target, "__qualname__") else None  # an instance has the name of its class
        return next((name for name, entry in self._entries.items() if entry.target in (target, lazy)), None)

    def __contains__(self, name: object) -> bool:
        return name in self._handed or name in self._entries or name in self._entry_points()

    @functools.cache  # noqa: B019 - registries live as long as the process
    def _entry_points(self) -> dict[str, list[str]]:
        """Return names that packages announce, each with its `module:attribute`; several where packages disagree."""
        table: dict[str, list[str]] = {}
        for point in importlib.metadata.entry_points(group=self.group):
            value, claims = f"{point.module}:{point.attr}", table.setdefault(point.name, [])
            if value not in claims:
                claims.append(value)
        return table

    def _load(self, name: str, target: Any) -> Any:
        """Import a lazy `module:attribute`; objects pass through."""
        if not isinstance(target, str):
            return target
        module, _, attribute = target.partition(":")
        try:
            return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
        except Rl4lmsError:
            raise
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{self.kind} {name!r} cannot be loaded from {target}: {error}") from error


def target_id(target: Callable[..., Any] | str) -> str:
    """`module:qualified.name` of a target, the same for an object and for its lazy string."""
    if isinstance(target, str):
        return target
    return f"{target.__module__}:{getattr(target, '__qualname__', type(target).__qualname__)}"


def unknown(kind: str, name: str, names: Iterable[str]) -> ConfigError | UnknownNameError:
    """Return the error for a name that nothing has.

    Args:
        kind: `reward`, `metric`, ...
        name: what was asked for; the path of a Python file lacks what is meant in it.
        names: the known ones.
    """
    if name.endswith(".py"):
        return ConfigError(f"{kind} {name!r}: {files.what_is_in(kind, name)}")
    return UnknownNameError(kind, name, names)


def _same(one: Callable[..., Any] | str, other: Callable[..., Any] | str) -> bool:
    """Return whether two targets are one piece of code, perhaps of a file that is two modules by now."""
    where = _definition(one)
    return target_id(one) == target_id(other) or (where is not None and where == _definition(other))


def _definition(target: Callable[..., Any] | str) -> tuple[Path, str] | None:
    """Return the file that a function, a class, or the class of an object stands in, and its name there; None of what
    is in no file.
    """
    if isinstance(target, str):
        return None
    code: Any = inspect.unwrap(target) if hasattr(target, "__qualname__") else type(target)
    try:
        file = Path(inspect.getfile(code)).resolve()
    except TypeError:  # built in, or typed into a notebook
        return None
    return (file, code.__qualname__) if file.is_file() else None


def loadable(function: Callable[..., Any]) -> str:
    """Return `file.py:name` of a function at the top of a file, which a recipe can name again; else its `target_id`."""
    code, name = getattr(function, "__code__", None), getattr(function, "__qualname__", "")
    file = "" if code is None else code.co_filename
    # a cell of a notebook has the name of a file that is not there
    is_top = name.isidentifier() and file.endswith(".py") and Path(file).is_file()
    return f"{file}:{name}" if is_top else target_id(function)


def _first_line(target: Callable[..., Any] | str) -> str:
    return "" if isinstance(target, str) else (inspect.getdoc(target) or "").partition("\n")[0]


def _table(kind: str, rows: Mapping[str, tuple[str, str]]) -> dict[str, Entry]:
    """Make entries of rows: name -> target, without the name of the package, and summary."""
    return {name: Entry(name, kind, f"rl4lms.{target}", summary) for name, (target, summary) in rows.items()}


algorithms = Registry(
    "algorithm",
    "rl4lms.algorithms",
    _table(
        "algorithm",
        {
            "ppo": ("algorithms.ppo:PPO", "proximal policy optimisation"),
            "nlpo": ("algorithms.nlpo:NLPO", "PPO inside a learned top-p mask"),
            "a2c": ("algorithms.a2c:A2C", "the policy gradient with a value function"),
            "trpo": ("algorithms.trpo:TRPO", "natural gradient steps within a KL bound, with a value function"),
            "bandit_ppo": ("algorithms.bandit_ppo:BanditPPO", "PPO with the whole completion as one action"),
            "reinforce": ("algorithms.reinforce:Reinforce", "the policy gradient with a baseline, no value function"),
            "rloo": ("algorithms.rloo:RLOO", "REINFORCE against the other completions of the prompt"),
            "grpo": ("algorithms.grpo:GRPO", "group-relative advantages; DAPO and Dr. GRPO by options"),
            "gspo": ("algorithms.gspo:GSPO", "GRPO with one ratio per completion"),
            "cispo": ("algorithms.cispo:CISPO", "group-relative advantages, ratios as bounded weights"),
            "expert_iteration": ("algorithms.expert_iteration:ExpertIteration", "learns the best completions"),
        },
    ),
)

# Any metric can be a reward, too.
rewards = Registry(
    "reward",
    "rl4lms.rewards",
    _table(
        "reward",
        {
            "sum": ("rewards.combine:Sum", "weighted sum of rewards, each part logged"),
            "product": ("rewards.combine:Product", "product of rewards, each part logged"),
            "ensemble": ("rewards.combine:Ensemble", "mean of rewards, less their disagreement"),
            "scale": ("rewards.transform:Scale", "factor * reward + offset"),
            "clip": ("rewards.transform:Clip", "a reward within bounds"),
            "standardise": ("rewards.transform:Standardise", "mean 0, deviation 1: running, batch or prompt"),
            "shaped": ("rewards.shaped:Shaped", "a sequence score as increments over prefixes, per token"),
            "length_penalty": ("rewards.penalties:LengthPenalty", "for texts too short or too long"),
            "repetition_penalty": ("rewards.penalties:RepetitionPenalty", "for repeated n-grams"),
            "commongen_penalty": ("rewards.penalties:CommonGenPenalty", "for copies of the prompt"),
            "concept_penalty": ("rewards.penalties:ConceptPenalty", "a factor for missing concepts"),
            "preference": ("rewards.preference:PreferenceReward", "a model of human preferences"),
            "http": ("rewards.http:HttpReward", "scores from a server"),
        },
    ),
)

metrics = Registry(
    "metric",
    "rl4lms.metrics",
    _table(
        "metric",
        {
            "classifier": ("metrics.classifier:Classifier", "score of a label by a classifier"),
            "increasing_numbers": ("metrics.toy:IncreasingNumbers", "numbers that go up"),
            "dates": ("metrics.toy:Dates", "dates in the text"),
            "perplexity": ("metrics.perplexity:Perplexity", "of the completions, under a judge LM"),
            "reference_perplexity": (
                "metrics.perplexity:ReferencePerplexity",
                "of the references, under the policy",
            ),
            "diversity": ("metrics.diversity:Diversity", "distinct-n, MSTTR, entropies, length"),
            "rouge": ("metrics.rouge:Rouge", "ROUGE-1, -2, -L, -Lsum, as rouge-score"),
            "rouge_combined": ("metrics.rouge:RougeCombined", "mean of ROUGE-1, -2 and -L"),
            "coco_rouge_l": ("metrics.rouge_l:CocoRougeL", "ROUGE-L as in COCO captioning and nlg-eval"),
            "rouge_l_max": ("metrics.rouge_l:RougeLMax", "best ROUGE-L, with the options of py-rouge"),
            "bleu": ("metrics.bleu:Bleu", "BLEU-1 to -4 of the corpus, and smoothed of each text"),
            "sacrebleu": ("metrics.sacre:SacreBleu", "BLEU by sacrebleu, with its signature"),
            "chrf": ("metrics.sacre:Chrf", "character n-gram F-score; chrF++ with word_order 2"),
            "ter": ("metrics.sacre:Ter", "translation edit rate; lower is better"),
            "wer": ("metrics.error_rates:Wer", "word error rate, as jiwer; lower is better"),
            "cer": ("metrics.error_rates:Cer", "character error rate, as jiwer; lower is better"),
            "nist": ("metrics.nist:Nist", "n-grams weighted by what they tell, of the corpus"),
            "sari": ("metrics.sari:Sari", "simplification: what is added, kept and deleted"),
            "local_recall": ("metrics.local_recall:LocalRecall", "words that k references have"),
            "exact_match": ("metrics.answers:ExactMatch", "equal to a reference"),
            "token_f1": ("metrics.answers:TokenF1", "overlap of words, as for SQuAD"),
            "meteor": ("metrics.meteor:Meteor", "METEOR: exact, stem and WordNet matches"),
            "meteor_exact_stem": ("metrics.meteor:MeteorExactStem", "METEOR without WordNet"),
            "cider": ("metrics.cider:Cider", "consensus with the references, tf-idf"),
            "cider_d": ("metrics.cider:CiderD", "CIDEr with clipping and a length penalty"),
            "spice": ("metrics.spice:Spice", "scene graphs; needs Java and aac-metrics"),
            "bert_score": ("metrics.bert_score:BertScore", "matching of contextual embeddings"),
            "bleurt": ("metrics.bleurt:Bleurt", "a regression model of quality"),
            "embedding_similarity": ("metrics.embeddings:EmbeddingSimilarity", "cosine"),
            "summac_zs": ("metrics.summac:SummaCZS", "whether a source entails a summary"),
            "summac_conv": ("metrics.summac:SummaCConv", "SummaC with a learned histogram layer"),
            "intent_accuracy": ("metrics.intent:IntentAccuracy", "whether a classifier reads the intent"),
            "parent": ("metrics.parent:Parent", "faithful to a table and to the references"),
            "totto_parent": ("metrics.totto:TottoParent", "PARENT of ToTTo: overall, overlap, non-overlap"),
            "totto_bleu": ("metrics.totto:TottoBleu", "BLEU of ToTTo: overall, overlap, non-overlap"),
            "concept_coverage": ("metrics.coverage:ConceptCoverage", "share of the concepts used"),
            "commongen_grammar": ("tasks.commongen.grammar:grammar_metric", "derivable, and with all concepts"),
            "cnn_daily_mail_grammar": (
                "tasks.summarization.grammar:grammar_metric",
                "derivable, true, share of the main facts",
            ),
            "narrative_qa_grammar": ("tasks.narrative_qa.grammar:grammar_metric", "derivable, and the right answer"),
            "totto_grammar": ("tasks.totto.grammar:grammar_metric", "derivable, and the highlighted cells alone"),
            "translation_grammar": ("tasks.translation.grammar:grammar_metric", "derivable, and a translation"),
            "daily_dialog_grammar": ("tasks.daily_dialog.grammar:grammar_metric", "derivable, and the wanted intent"),
            "imdb_grammar": ("tasks.imdb.grammar:grammar_metric", "derivable share and gold label"),
        },
    ),
)

tasks = Registry(
    "task",
    "rl4lms.tasks",
    _table(
        "task",
        {
            "imdb": ("tasks.imdb.task:ImdbTask", "continue a movie review, positively"),
            "commongen": ("tasks.commongen.task:CommonGenTask", "a sentence with some concepts"),
            "multi30k": ("tasks.translation.task:Multi30kTask", "descriptions of photographs into German"),
            "iwslt2017": ("tasks.translation.task:Iwslt2017Task", "TED talks into German"),
            "wmt16": ("tasks.translation.task:Wmt16Task", "news into German"),
            "daily_dialog": ("tasks.daily_dialog.task:DailyDialogTask", "the next turn of a conversation"),
            "totto": ("tasks.totto.task:TottoTask", "a sentence about some cells of a table"),
            "narrative_qa": ("tasks.narrative_qa.task:NarrativeQATask", "an answer about a story"),
            "cnn_daily_mail": ("tasks.summarization.task:CnnDailyMailTask", "highlights of a news article"),
            "dialogsum": ("tasks.summarization.task:DialogSumTask", "a summary of a dialogue"),
            "webnlg": ("tasks.webnlg.task:WebNlgTask", "some facts as text"),
            "one_prompt": ("tasks.one_prompt.task:OnePromptTask", "one prompt many times, for toy rewards"),
        },
    ),
)
