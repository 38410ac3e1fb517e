"""How good a reward model is on data it has not seen: numbers, plots, and its model card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from rl4lms.config.reader import read_text
from rl4lms.errors import ConfigError, NonFiniteError
from rl4lms.reporting.charts import LinePlot, line_image
from rl4lms.stats import Calibration, calibration, roc_auc
from rl4lms.supervised.reward_data import Kind

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measures:
    """A reward model on held-out data.

    Attributes:
        n: rows, or pairs.
        accuracy: share of rows with the right label; share of pairs in the right order (ties count half); of ratings,
            share of all pairs of different ratings that are in the right order.
        accuracy_stderr: its standard error, rows of one group taken as dependent (pairs of one group share texts); None
            for ratings.
        auc: area under the ROC curve: of the last label (the mean over labels, each against the rest, for more than
            two); of the preferred text's order among both orders of each pair; of the ratings above their median.
        calibration_error: mean difference of predicted probability and share of positives, in ten bins; for more than
            two labels of the predicted label. Of ratings: root mean squared error, in rating points.
        points: (predicted, observed, count) of each bin.
        pearson, spearman: of ratings, else None.
    """

    n: int
    accuracy: float
    accuracy_stderr: float | None
    auc: float
    calibration_error: float
    points: tuple[tuple[float, float, int], ...]
    pearson: float | None = None
    spearman: float | None = None


def of_labels(logits: Array, truth: Array, groups: Sequence[str]) -> Measures:
    """Return measures of a classifier.

    Args:
        logits: (n, labels).
        truth: (n,) indices of the right labels.
        groups: (n,) of the rows.
    """
    exps = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = exps / exps.sum(-1, keepdims=True)
    right = probabilities.argmax(-1) == truth
    labels = range(probabilities.shape[1])
    seen = (
        calibration(probabilities[:, 1], truth == 1) if len(labels) == 2 else calibration(probabilities.max(-1), right)
    )
    judged = [1] if len(labels) == 2 else [label for label in labels if 0 < (truth == label).sum() < len(truth)]
    areas = [
        roc_auc(probabilities[:, label], truth == label) for label in judged if 0 < (truth == label).sum() < len(truth)
    ]
    return _measures(right.astype(float), groups, float(np.mean(areas)) if areas else math.nan, seen)


def of_pairs(margins: Array, groups: Sequence[str]) -> Measures:
    """Return measures of a preference model; `margins` (n,) are the scores of preferred texts minus those of the
    others.
    """
    both, first = np.concatenate([margins, -margins]), np.concatenate([np.ones(len(margins)), np.zeros(len(margins))])
    right = np.where(margins == 0, 0.5, margins > 0)
    return _measures(right, groups, roc_auc(both, first), calibration(_sigmoid(both), first))


def of_ratings(predicted: Array, ratings: Array) -> Measures:
    """Return measures of a regression on ratings, (n,) each.

    Raises:
        NonFiniteError: a prediction is NaN or infinite.
    """
    if not np.isfinite(predicted).all():
        raise NonFiniteError("the reward model predicts NaN or infinity on held-out data; try a lower learning_rate")
    above = ratings > np.median(ratings)
    spread = 0 < above.sum() < len(above)
    parts = np.array_split(np.argsort(predicted), min(10, len(predicted)))
    known = len(predicted) > 2 and np.ptp(predicted) > 0 and np.ptp(ratings) > 0
    kinds = (scipy.stats.pearsonr, scipy.stats.spearmanr)
    pearson, spearman = (float(kind(predicted, ratings).statistic) if known else None for kind in kinds)
    return Measures(
        len(ratings),
        _in_order(predicted, ratings),
        None,
        roc_auc(predicted, above) if spread else math.nan,
        float(np.sqrt(np.mean((predicted - ratings) ** 2))),
        tuple((float(predicted[rows].mean()), float(ratings[rows].mean()), len(rows)) for rows in parts),
        pearson,
        spearman,
    )


def _in_order(predicted: Array, ratings: Array) -> float:
    """Share of the pairs of different ratings that are in the right order, ties of predictions counted half; NaN
    without such a pair.
    """
    differ, predicted_differ = _different_pairs(ratings), _different_pairs(predicted)
    if not differ or not predicted_differ:
        return 0.5 if differ else math.nan
    # tau-b is the number of pairs in order minus that of the others, over the geometric mean of these two counts; n log
    # n, no n x n matrix
    surplus = round(float(scipy.stats.kendalltau(predicted, ratings).statistic) * math.sqrt(differ * predicted_differ))
    return 0.5 + surplus / (2 * differ)


def _different_pairs(values: Array) -> int:
    same = sum(int(count) * (int(count) - 1) // 2 for count in np.unique(values, return_counts=True)[1])
    return len(values) * (len(values) - 1) // 2 - same


def _measures(right: Array, groups: Sequence[str], auc: float, seen: Calibration) -> Measures:
    n, accuracy = len(right), float(right.mean())
    sums: dict[str, float] = {}
    for group, value in zip(groups, right - accuracy, strict=True):
        sums[group] = sums.get(group, 0.0) + value
    # of a mean of clusters (Liang and Zeger, 1986); where every row is a group of its own, the usual standard error
    stderr = (
        math.sqrt(math.fsum(s * s for s in sums.values()) * len(sums) / (len(sums) - 1)) / n if len(sums) > 1 else None
    )
    return Measures(
        n, accuracy, stderr, auc, seen.error, tuple(zip(seen.predicted, seen.observed, seen.counts, strict=True))
    )


def _sigmoid(x: Array) -> Array:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


_AXES: dict[Kind, tuple[str, str]] = {
    "labels": ("predicted probability", "share of positives"),
    "preferences": ("predicted probability of preference", "share preferred"),
    "ratings": ("predicted rating", "mean rating"),
}


def write_plots(folder: Path, kind: Kind, measures: Measures | None, curve: Sequence[Mapping[str, Any]]) -> list[str]:
    """`calibration.png`, and `learning_curve.png` where there is a curve; returns their names."""
    names = []
    if measures is not None:
        predicted = [point[0] for point in measures.points]
        ends = (
            (min([0.0, *predicted]), max([1.0, *predicted])) if kind != "ratings" else (min(predicted), max(predicted))
        )
        lines = {"model": [point[:2] for point in measures.points], "perfect": [(ends[0], ends[0]), (ends[1], ends[1])]}
        x, y = _AXES[kind]
        line_image(folder / "calibration.png", LinePlot("Calibration", x, y, whole_x=False, markers=True), lines)
        names.append("calibration.png")
    known = [name for name in ("accuracy", "auc") if any(point[name] is not None for point in curve)]
    if len(curve) > 1 and known:
        lines = {name: [(point["rows"], point[name]) for point in curve] for name in known}
        x = "training pairs" if kind == "preferences" else "training rows"
        plot = LinePlot("Learning curve", x, "on held-out data", markers=True)
        line_image(folder / "learning_curve.png", plot, lines)
        names.append("learning_curve.png")
    return names


def as_json(measures: Measures) -> dict[str, Any]:
    """Return the measures as result files hold them; NaN becomes null."""
    numbers = {name: value for name, value in asdict(measures).items() if name != "points" and value is not None}
    numbers = {
        name: None if isinstance(value, float) and math.isnan(value) else value for name, value in numbers.items()
    }
    points = [{"predicted": p, "observed": o, "n": n} for p, o, n in measures.points]
    return {**numbers, "calibration": points}


def usage(output: Path, labels: Sequence[str], include_prompt: bool) -> str:
    """Return how a recipe names the model as its reward; the last label is the one that is wanted."""
    options = [f"name: {'classifier' if labels else 'preference'}", f"model: {_yaml(str(output))}"]
    options += [f"label: {_quoted(labels[-1])}"] if labels else []  # always quoted: `1` without would be an index
    options += [] if include_prompt else ["include_prompt: false"]
    return f"reward: {{{', '.join(options)}}}"


def _yaml(text: str) -> str:
    """Return a text as a value between braces: plain where it is read back as the same text."""
    try:
        plain = read_text(f"{{value: {text}}}", "", lines=False)[0] == {"value": text}
    except ConfigError:
        plain = False
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    """Return a text in double quotes, as JSON writes it; what cannot be printed as YAML's escapes, since YAML folds
    some of it into spaces.
    """
    return "".join(
        char if char.isprintable() else f"\\U{ord(char):08x}" for char in json.dumps(text, ensure_ascii=False)
    )


def reward_model_card(settings: Mapping[str, Any], plots: Sequence[str]) -> str:
    """Return the model card."""
    result, kind = settings["result"], settings["kind"]
    rows = "pairs" if kind == "preferences" else "texts"
    what = {
        "labels": f"A sequence classifier (labels: {', '.join(result.get('labels', []))})",
        "ratings": "A regression on ratings (one output)",
        "preferences": "A Bradley–Terry model of preferences (one output r; the first text is preferred with "
        "probability σ(r₁ - r₂))",
    }[kind]
    lines = ["---", "library_name: transformers", "tags: [rl4lms, reward-model]", "---", "", "# Reward model", ""]
    lines += [
        f"{what} fine-tuned from `{settings['base']}` with `rl4lms reward train` on {result['train_rows']} {rows}.",
        "",
    ]
    lines += ["## Use", "", "```yaml", settings["use"], "```", ""]
    between = f"It was trained on prompt and text with {settings.get('join', '')!r} between."
    lines += [between if settings["include_prompt"] else "It was trained on texts without prompts.", ""]
    lines += ["## Results", "", *_results(settings, rows)]
    if result.get("curve"):
        lines += ["", f"| training {rows} | accuracy | ROC AUC |", "|---|---|---|"]
        lines += [
            f"| {point['rows']} | {shown(point['accuracy'])} | {shown(point['auc'])} |" for point in result["curve"]
        ]
    lines += ["", *(f"![{name.removesuffix('.png').replace('_', ' ')}]({name})" for name in plots)]
    options = ", ".join(f"{k} {settings[k]}" for k in ("epochs", "batch_size", "learning_rate", "max_tokens", "seed"))
    lines += ["", "## Training", "", f"Data: `{settings['train']}`. {options}.", ""]
    return "\n".join(lines)


def _results(settings: Mapping[str, Any], rows: str) -> list[str]:
    """Return the numbers on held-out data."""
    result = settings["result"]
    if "accuracy" not in result:
        return [f"{result.get('note', 'nothing was held out').capitalize()}. Nothing is known about how good it is."]
    lines = [f"On {result['n']} held-out {rows} ({settings['held_out']}):", "", "| measure | value |", "|---|---|"]
    spread = f" ± {result['accuracy_stderr']:.4f}" if result.get("accuracy_stderr") is not None else ""
    lines += [f"| accuracy | {shown(result['accuracy'])}{spread} |"]
    names = {"auc": "ROC AUC", "pearson": "Pearson", "spearman": "Spearman"}
    names["calibration_error"] = (
        "root mean squared error" if settings["kind"] == "ratings" else "expected calibration error"
    )
    return lines + [
        f"| {text} | {shown(result[name])} |" for name, text in names.items() if result.get(name) is not None
    ]


def shown(value: float | None) -> str:
    """Return a measure as people read it; None where the held-out data do not define it, as with ratings that are all
    the same.
    """
    return "not defined" if value is None else f"{value:.4f}"
