"""Metrics of the original by id, as metrics of this library; and what both call their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rl4lms.errors import did_you_mean, shown
from rl4lms.integrations.legacy.old_file import Section
from rl4lms.plugins.files import is_path

Component = dict[str, Any]

#: The classifier that the original's `intent_accuracy` loads.
INTENTS = "rajkumarrrk/roberta-daily-dialog-intent-classifier"
#: What is said of metrics that read one reference in the original, where prompts have several.
FIRST_REFERENCE = "ROUGE: of several references the best counts; the original took the first"
_NLI = {
    "mnli": "roberta-large-mnli",
    "mnli-base": "microsoft/deberta-base-mnli",
    "vitc": "tals/albert-xlarge-vitaminc-mnli",
    "anli": "ynie/roberta-large-snli_mnli_fever_anli_R1_R2_R3-nli",
}
_BLEURT = [f"bleurt-{size}-{length}" for size in ("tiny", "base", "large") for length in (128, 512)]
_PY_ROUGE_BYTES = "cuts texts by bytes; this library cuts by words: length_limit_type: words with length_limit"


def refuse_name(args: Section) -> None:
    """Refuse an argument of a user's class that a recipe cannot hold."""
    if "name" in args:
        args.refuse("name", "stands for the class itself in a recipe; give the argument another name")


def named(section: Section, kind: str, known: dict[str, Callable[[Section], Component]]) -> Component:
    """Return the component that `id` and `args` of a section name, with every argument mapped or refused."""
    name, args = section.text("id"), section.section("args", None)
    section.end()
    if is_path(name):  # a class of the user's, which takes its arguments itself
        refuse_name(args)
        return {"name": name, **args.values}
    if name not in known:
        if name:
            own = "a class of your own is {id: path/to/file.py:Class}, see docs/migration.md"
            section.refuse("id", f"no {kind} {shown(name)} in the original ({own}); {did_you_mean(name, known)}")
        return {"name": name}
    found = known[name](args)
    args.end()
    return found


def _plainly(name: str, **options: Any) -> Callable[[Section], Component]:
    return lambda args: {"name": name, **options}


def increasing_numbers(args: Section) -> Component:
    """Return the toy metric of numbers that go up."""
    return {"name": "increasing_numbers", "min_tokens": args.number("min_tokens", ge=1, whole=True)}


def classifier(args: Section) -> Component:
    """Return the score of a label by a classifier."""
    found = {"name": "classifier", "model": args.text("model_name")}
    found["label"] = args.number("label_ix", ge=0, whole=True)
    found["include_prompt"] = args.flag("include_prompt_for_eval", True)
    if "batch_size" in args:
        found["batch_size"] = args.number("batch_size", ge=1, whole=True)
    return found


def rouge(args: Section) -> Component:
    """Return ROUGE."""
    if args.flag("use_single_ref", True):
        args.decide("use_single_ref", FIRST_REFERENCE)
    return {"name": "rouge"}


def bert_score(args: Section) -> Component:
    """Return BERTScore with the model that is for a language."""
    language = args.text("language", "en")
    if language == "en":
        return {"name": "bert_score"}
    model = "bert-base-chinese" if language == "zh" else "bert-base-multilingual-cased"
    args.decide("language", f"{language}: the model that bert-score has for it, {model}")
    return {"name": "bert_score", "model": model}


def bleurt(args: Section, key: str = "config_name") -> Component:
    """Return BLEURT; `key` is what the original calls its checkpoint."""
    name = args.text(key, None) or "bleurt-base-128"
    if name not in _BLEURT:
        args.refuse(key, f"{shown(name)}: write {{name: bleurt, model: ...}} with a checkpoint in HF format")
        return {"name": "bleurt"}
    model = f"Elron/{name}"
    args.decide(key, f"{name}: its conversion to HF format, {model}")
    return {"name": "bleurt", "model": model}


def _diversity(args: Section) -> Component:
    return {"name": "diversity", "window": args.number("window_size", 100, ge=1, whole=True)}


def _summac_zs(args: Section) -> Component:
    name = args.text("model_name", "mnli")
    if name not in _NLI:
        args.refuse("model_name", f"{shown(name)}: known are {', '.join(_NLI)}; or {{name: _summac_zs, model: ...}}")
    found = {"name": "summac_zs", "model": _NLI.get(name, name), "granularity": args.text("granularity", "paragraph")}
    found |= {"op1": args.text("op1", "max"), "op2": args.text("op2", "mean")}
    found |= {"use_entailment": args.flag("use_ent", True), "use_contradiction": args.flag("use_con", True)}
    args.neutral({"device": (("cpu", "cuda"), "the metric finds the device; {name: _summac_zs, device: ...}")})
    return found


def _summac_conv(args: Section) -> Component:
    args.refuse("", "the trained layer has to be converted first: {name: _summac_conv, model: ..., weights: FILE}")
    args.unneeded(*args.values)
    return {"name": "summac_conv"}


def _reference_perplexity(args: Section) -> Component:
    args.text("model_type", "causal", ("causal",))
    args.unneeded("stride", "tokenizer_id")
    meta = args.flag("use_text_from_meta_data", False)
    which = "the second halves of reviews, where the original took whole ones" if meta else "each after its prompt"
    args.decide("", f"reference_perplexity is of the references, {which}; the original joined all texts into one")
    return {"name": "reference_perplexity"}


def rouge_l_max(args: Section) -> Component:
    """Return py-rouge's ROUGE-L."""
    found: Component = {"name": "rouge_l_max", "alpha": args.number("alpha", 0.5, ge=0, le=1)}
    found["weight_factor"] = args.number("weight_factor", 1.0, gt=0)
    found["stemmer"] = args.flag("stemming", True)
    args.number("max_n", None, whole=True), args.flag("apply_avg", None), args.flag("apply_best", None)
    args.unneeded("max_n", "apply_avg", "apply_best")
    limit, kind = args.number("length_limit", 665, ge=1, whole=True), args.text("length_limit_type", "bytes")
    if not args.flag("limit_length", True):
        limit = None
    elif kind != "words":
        args.refuse("length_limit_type", f"{kind}: {_PY_ROUGE_BYTES}, or limit_length: False")
    return found | {"max_words": limit}


def sacrebleu(args: Section) -> Component:
    """Return sacrebleu's BLEU."""
    found: Component = {"name": "sacrebleu", "tokenize": args.text("tokenize", "13a")}
    found |= {"lowercase": args.flag("lowercase", False), "smoothing": args.text("smooth_method", "exp")}
    args.neutral(
        {
            "smooth_value": ((), "the smoothing has sacrebleu's own value"),
            "use_effective_order": ((True, False), "single texts have the effective order, a corpus does not"),
            "force": ((True, False), "true or false"),
        }
    )
    return found


METRICS: dict[str, Callable[[Section], Component]] = {
    "increasing_numbers": increasing_numbers,
    "dates": _plainly("dates"),
    "learned_reward": classifier,
    "meteor": _plainly("meteor"),
    "rouge": rouge,
    "bert_score": bert_score,
    "bleu": _plainly("bleu"),
    "bleurt": bleurt,
    "diversity": _diversity,
    "summaCZS": _summac_zs,
    "summaCConv": _summac_conv,
    "causal_perplexity": _reference_perplexity,
    "cider": _plainly("cider"),
    "spice": _plainly("spice"),
    "parent_totto": _plainly("totto_parent"),
    "bleu_totto": _plainly("totto_bleu"),
    "rouge_l_max": rouge_l_max,
    "sacre_bleu": sacrebleu,
    "ter": _plainly("ter"),
    "chrf": _plainly("chrf"),
    "intent_accuracy": _plainly("intent_accuracy", model=INTENTS),
}

#: Defaults of this library's own options, which a recipe leaves out; a test compares them with the signatures.
OURS: dict[str, dict[str, Any]] = {
    "classifier": {"include_prompt": True, "batch_size": 64},
    "diversity": {"window": 100},
    "increasing_numbers": {"min_tokens": 20},
    "rouge_l_max": {"alpha": 0.5, "weight_factor": 1.0, "stemmer": True, "max_words": 100},
    "sacrebleu": {"tokenize": "13a", "lowercase": False, "smoothing": "exp"},
    "summac_zs": {
        "granularity": "paragraph",
        "op1": "max",
        "op2": "mean",
        "use_entailment": True,
        "use_contradiction": True,
    },
}

#: What an evaluation of this library calls a number, and the original; and what the value is multiplied by.
NAMES: dict[str, tuple[str, float]] = {
    "increasing_numbers": ("synthetic/increasing_numbers_in_text", 1),
    "dates": ("synthetic/dates_in_text", 1),
    "classifier": ("semantic/learned_automodel_metric", 1),
    "meteor": ("lexical/meteor", 1),
    "rouge1": ("lexical/rouge_rouge1", 1),
    "rouge2": ("lexical/rouge_rouge2", 1),
    "rougeL": ("lexical/rouge_rougeL", 1),
    "rougeLsum": ("lexical/rouge_rougeLsum", 1),
    "bert_score": ("semantic/bert_score", 1),
    "bleu-4": ("lexical/bleu", 1),
    "bleurt": ("semantic/bleurt", 1),
    "summac_zs": ("consistency/summaczs", 1),
    "summac_conv": ("consistency/summacconv", 1),
    "reference_perplexity": ("fluency_metrics/perplexity", 1),
    "cider": ("lexical/cider", 1),
    "spice": ("lexical/spice", 1),
    "rouge_l_max": ("lexical/rouge_l_max", 1),
    "sacrebleu": ("lexical/sacrebleu", 0.01),
    "ter": ("lexical/ter", 0.01),
    "chrf": ("lexical/chrf", 0.01),
    "intent_accuracy": ("intent/accuracy", 1),
}


def metrics(train_evaluation: Section) -> list[Component]:
    """Return the metrics of an old file; one that is named twice counts once."""
    found: list[Component] = []
    for section in train_evaluation.sections("metrics"):
        one = named(section, "metric", METRICS)
        if one in found:
            section.fault("id", "stands in the list twice", "taken once")
        else:
            found.append(one)
    return found
