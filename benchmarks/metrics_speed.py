"""Speed of every registered metric: pairs per second, and seconds for one call as a reward.

    python benchmarks/metrics_speed.py --data DATA [--metrics rouge ter ...] [--repeats 3] [--out reports]

DATA (or RL4LMS_TEST_DATA) has the folders `commongen`, `dialogsum` and `summ_human`. With `--metrics` the other rows of
an existing report are kept.

*CommonGen*: 5,000 concept sets of the training data that have two sentences or more; the first is the candidate, the
others are its references. *Summaries*: 250 system outputs of SummEval against the reference of their article, and 250
times the first summary of a DialogSum dialogue against the two others. Metrics that look at concepts or tables get the
concepts of CommonGen, and tables made of them.

A measurement is one call of `rl4lms.metrics.compute` on all pairs, as in an evaluation, in CPU seconds of one thread,
in a process of its own (forked from one that has imported the libraries and called nothing), after a call with one
pair: caches are cold, files and models are loaded. Figures are medians of three. The packages beside are called pair by
pair through their public functions: `rouge-score`, sacrebleu, nltk's METEOR with nltk's WordNet reader and word
tokenizer.

*As a reward*: 64 completions of 48 words, three references each. *related*: summaries of SummEval and references of
their articles (the first call); *again*: other completions and the same references (a later iteration); *unrelated*:
references of other articles; *repetitive*: words drawn from only ten, as a collapsed policy would write them. The limit
is 5 % of an iteration of workload B (`speed.json`).
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metrics_vs_people import (
    NOT_HERE,
    add_data_option,
    encoder_options,
    needed_data,
    note,
    summeval,
    write_json,
    write_markdown,
)

SETS = ("commongen", "summaries")
CALLS = ("related", "again", "unrelated", "repetitive")
SHARE, WORDS, COMPLETIONS = 0.05, 48, 64
FEW_WORDS = ["the", "a", "man", "dog", "in", "runs", "with", "red", "ball", "and"]
ENCODERS = ("bert_score", "embedding_similarity")
NEEDS_CONCEPTS = ("concept_coverage", "parent", "totto_parent", "totto_bleu")


@dataclass
class Pairs:
    """Candidates, their references, and the concepts that they are about, where these are known."""

    prompts: list[str] = field(default_factory=list)
    completions: list[str] = field(default_factory=list)
    references: list[tuple[str, ...]] = field(default_factory=list)
    concepts: list[list[str]] = field(default_factory=list)

    def add(self, prompt: str, completion: str, references: tuple[str, ...], concepts: list[str] | None = None) -> None:
        """One more pair."""
        self.prompts.append(prompt)
        self.completions.append(completion)
        self.references.append(references)
        if concepts is not None:
            self.concepts.append(concepts)

    def columns(self, name: str) -> dict[str, list[Any]]:
        """Return what the metric of that name looks at besides the texts."""
        if not self.concepts or name not in NEEDS_CONCEPTS:
            return {}
        if name.startswith("totto"):
            tables = [[[{"value": word} for word in row]] for row in self.concepts]
            return {
                "table": tables,
                "highlighted_cells": [[[0, place] for place in range(len(row))] for row in self.concepts],
            }
        return {"concepts": self.concepts, "table": [[["concept", word] for word in row] for row in self.concepts]}


def main() -> int:
    """Return measures in fresh processes, write both reports; the exit status is 2 where the data is not there."""
    from rl4lms.plugins import registry

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser)
    parser.add_argument("--metrics", nargs="+", choices=registry.metrics.names(), metavar="NAME", help="only these")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=5000, help="of CommonGen")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "reports", help="folder for metrics-speed.md and .json"
    )
    args = parser.parse_args()
    if any(needed_data(args.data, name) is None for name in ("commongen", "dialogsum", "summ_human")):
        return 2
    os.environ.update(
        dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    )
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    from rl4lms.runs.display import quiet_libraries

    torch.set_num_threads(1)
    quiet_libraries()
    iteration = iteration_seconds(Path(__file__).parents[1] / "reports" / "speed.json")
    data = {"commongen": commongen(args.data, args.pairs), "summaries": summaries(args.data), **reward_calls(args.data)}
    rows: dict[str, Any] = {}
    written = args.out / "metrics-speed.json"
    if args.metrics and written.is_file():
        rows = json.loads(written.read_text(encoding="utf-8"))["metrics"]
    for name in args.metrics or registry.metrics.names():
        rows[name] = measured(name, data, args.data, args.repeats)
        note(f"{name}: {json.dumps(rows[name])}")
    report = {
        "iteration_cpu_s": iteration,
        "limit_s": SHARE * iteration,
        "repeats": args.repeats,
        "pairs": {name: len(data[name].completions) for name in SETS},
        "references": {name: round(statistics.fmean(map(len, data[name].references)), 2) for name in SETS},
        "metrics": {name: rows[name] for name in registry.metrics.names() if name in rows},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(written, report)
    write_markdown(args.out / "metrics-speed.md", markdown(report))
    return 0


def iteration_seconds(file: Path) -> float:
    """CPU seconds of an iteration of workload B."""
    rows = json.loads(file.read_text(encoding="utf-8"))
    return next(float(row["iteration_cpu_s"]) for row in rows if (row["workload"], row["variant"]) == ("B", "ppo"))


def commongen(data: Path, count: int) -> Pairs:
    """Concept sets in their order in the training data."""
    sources, targets = (
        gzip.decompress((data / "commongen" / f"train_{side}.txt.gz").read_bytes()).decode("utf-8").splitlines()
        for side in ("src", "trg")
    )
    scenes: dict[str, list[str]] = {}
    for source, target in zip(sources, targets, strict=True):
        scenes.setdefault(source, []).append(target)
    pairs = Pairs()
    for source, (candidate, *others) in [item for item in scenes.items() if len(item[1]) > 1][:count]:
        pairs.add(source, candidate, tuple(others), source.split())
    return pairs


def summaries(data: Path, each: int = 250) -> Pairs:
    """Return outputs of all systems of SummEval in turn, then dialogues."""
    judged, pairs = summeval(data / "summ_human"), Pairs()
    articles, systems = next(iter(judged.human.values())).shape
    for n in range(each):
        row = n % articles * systems + (n + n // articles * 5) % systems
        pairs.add(judged.sources[row], judged.completions[row], judged.references[row][:1])
    for line in (data / "dialogsum" / "dialogsum.test.jsonl").read_text(encoding="utf-8").splitlines()[:each]:
        found = json.loads(line)
        pairs.add(found["dialogue"], found["summary1"], (found["summary2"], found["summary3"]))
    return pairs


def reward_calls(data: Path) -> dict[str, Pairs]:
    """Return the four batches of `CALLS`; no reference of one but "again" is in another."""
    judged, rng = summeval(data / "summ_human"), random.Random(0)
    articles, systems = next(iter(judged.human.values())).shape
    calls = {name: Pairs() for name in CALLS}

    def add(name: str, article: int, system: int, references: tuple[str, ...]) -> None:
        row = article * systems + system % systems
        words = references[0].split()
        calls[name].add(judged.sources[row], " ".join(judged.completions[row].split()[:WORDS]), references, words[:5])

    for n in range(COMPLETIONS):
        own, other = judged.references[n * systems], judged.references[(n + articles // 3) % articles * systems]
        add("related", n, n, own[:3])
        add("again", n, n + 1, own[:3])
        add("unrelated", n, n + 2, other[3:6])
        few = [" ".join(rng.choices(FEW_WORDS, k=WORDS)) for _ in range(4)]
        calls["repetitive"].add("", few[0], tuple(few[1:]), few[1].split()[:5])
    return calls


def measured(name: str, data: Mapping[str, Pairs], folder: Path, repeats: int) -> dict[str, Any]:
    """Return all figures of one metric: CPU seconds as medians, or why there are none."""
    if name in NOT_HERE:
        return {"absent": NOT_HERE[name]}
    row: dict[str, Any] = {}
    for key in SETS:
        if key == "summaries" and name in NEEDS_CONCEPTS:
            continue
        found = [in_fresh_process(time_metric, name, data[key], folder) for _ in range(repeats)]
        if "absent" in found[0]:
            return found[0]
        row[f"{key}_s"] = statistics.median(one["seconds"] for one in found)
        row["runs_a_model"] = found[0]["runs_a_model"]
        if name in PACKAGES:
            others = [in_fresh_process(time_package, name, data[key], folder) for _ in range(repeats)]
            row[f"{key}_package_s"] = statistics.median(one["seconds"] for one in others)
    calls = [in_fresh_process(time_reward, name, {call: data[call] for call in CALLS}, folder) for _ in range(repeats)]
    if "absent" in calls[0]:
        return row | {"no_reward": calls[0]["absent"]}
    return row | {"reward_s": {call: statistics.median(one[call] for one in calls) for call in CALLS}}


def in_fresh_process(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Return what `work` returns in a process of its own.

    Raises:
        RuntimeError: the process failed; its message is above.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=lambda: there.send(work(*arguments)))
    process.start()
    there.close()
    try:
        result: dict[str, Any] = here.recv()
    except EOFError as error:
        raise RuntimeError(f"{work.__name__} failed for {arguments[0]}") from error
    finally:
        process.join()
    return result


def built(name: str, pairs: Pairs, folder: Path) -> Any:
    """Return the metric, with its document frequencies."""
    from rl4lms.metrics import build

    options = encoder_options(name) if name in ENCODERS else {}
    if name == "perplexity":
        options = {"model": str(folder / "stories260K-hf"), "device": "cpu"}
    metric: Any = build({"name": name, **options})
    if getattr(metric, "corpus", None) is not None:
        metric.fit(pairs.references[:1000], "these pairs")
    return metric


def time_metric(name: str, pairs: Pairs, folder: Path) -> dict[str, Any]:
    """CPU seconds of a metric for all pairs; why, where it is not there."""
    from rl4lms.errors import ConfigError, MissingPartError
    from rl4lms.metrics import compute

    try:
        metric = built(name, pairs, folder)
    except (ConfigError, MissingPartError) as error:
        return {"absent": str(error)}
    warm_up(metric, name)
    start = time.process_time()
    compute(
        metric,
        prompts=pairs.prompts,
        completions=pairs.completions,
        references=pairs.references,
        columns=pairs.columns(name),
    )
    return {"seconds": time.process_time() - start, "runs_a_model": bool(getattr(metric, "uses_model", False))}


def time_reward(name: str, calls: Mapping[str, Pairs], folder: Path) -> dict[str, Any]:
    """CPU seconds of each call."""
    from rl4lms.errors import ConfigError
    from rl4lms.rewards.resolve import MetricReward

    metric = built(name, calls["related"], folder)
    keys = warm_up(metric, name)
    if not keys:
        return {"absent": "one value for all texts together"}
    try:
        reward = MetricReward(metric, name, None if getattr(metric, "reward_key", None) else keys[0])
    except ConfigError as error:
        return {"absent": str(error)}
    seconds = {}
    for call, pairs in calls.items():
        start = time.process_time()
        reward(prompts=pairs.prompts, completions=pairs.completions, references=pairs.references, **pairs.columns(name))
        seconds[call] = time.process_time() - start
    return seconds


def warm_up(metric: Any, name: str) -> list[str]:
    """Return one call with one pair; the keys that have values per text."""
    from rl4lms.metrics import compute

    one = Pairs()
    one.add("To begin", "Once upon a time", ("There was a time",), ["time"])
    found = compute(
        metric, prompts=one.prompts, completions=one.completions, references=one.references, columns=one.columns(name)
    )
    return [result.key for result in found if result.values is not None]


def time_package(name: str, pairs: Pairs, folder: Path) -> dict[str, Any]:
    """CPU seconds of the package that is the reference for a metric."""
    score = PACKAGES[name]()
    score("Once upon a time", ("There was a time",))
    start = time.process_time()
    for completion, references in zip(pairs.completions, pairs.references, strict=True):
        score(completion, references)
    return {"seconds": time.process_time() - start}


def rouge_score_package() -> Callable[[str, tuple[str, ...]], Any]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    return lambda completion, references: scorer.score_multi(references, completion)


def sacrebleu_package(kind: str, **options: Any) -> Callable[[str, tuple[str, ...]], Any]:
    import sacrebleu.metrics

    scorer = getattr(sacrebleu.metrics, kind)(**options)
    return lambda completion, references: scorer.sentence_score(completion, list(references))


def nltk_package() -> Callable[[str, tuple[str, ...]], Any]:
    import warnings

    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.tokenize import TreebankWordTokenizer
    from nltk.translate.meteor_score import meteor_score

    from rl4lms.metrics.wordnet import installed_wordnet

    source = installed_wordnet().source
    nltk.data.path.append(str(source.parents[1]))  # nltk reads nothing elsewhere
    warnings.filterwarnings("ignore", "The multilingual functions")
    wordnet, tokenize = WordNetCorpusReader(str(source), None), TreebankWordTokenizer().tokenize
    return lambda completion, references: meteor_score(
        [tokenize(text) for text in references], tokenize(completion), wordnet=wordnet
    )


PACKAGES: dict[str, Callable[[], Callable[[str, tuple[str, ...]], Any]]] = {
    "rouge": rouge_score_package,
    "sacrebleu": lambda: sacrebleu_package("BLEU", effective_order=True),
    "chrf": lambda: sacrebleu_package("CHRF"),
    "ter": lambda: sacrebleu_package("TER"),
    "meteor": nltk_package,
}


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report, but for its reading."""
    rows, pairs, limit = report["metrics"], report["pairs"], report["limit_s"]
    there = {name: row for name, row in rows.items() if "absent" not in row}
    few = report["references"]
    lines = [
        "# Speed of the metrics",
        "",
        "```sh\nmake bench-metrics    # with RL4LMS_TEST_DATA; a quarter of an hour\n```",
        "",
        f"Pairs per second of one thread, median of {report['repeats']}, each in a fresh process with cold caches, for",
        f"{pairs['commongen']:,} CommonGen sentences ({few['commongen']:.1f} references on average) and "
        f"{pairs['summaries']:,} summaries "
        f"({few['summaries']:.1f}). *package*: the reference package",
        "where there is one, and how many times as fast the metric is. How pairs are made is in the docstring of",
        "`benchmarks/metrics_speed.py`, seconds are in `metrics-speed.json`.",
        "",
        "| | CommonGen | summaries | package: CommonGen | summaries | times as fast |",
        "|---|---|---|---|---|---|",
        *(speed_row(name, row, pairs) for name, row in there.items()),
        "",
        "## As a reward",
        "",
        f"CPU seconds for one call on {COMPLETIONS} completions of {WORDS} words with three references each; the "
        f"limit is {SHARE:.0%} of",
        f"an iteration of workload B ({report['iteration_cpu_s']:.2f} CPU s), {limit:.2f} s. *again*: other "
        f"completions, the same",
        "references. *share*: the slowest call, of an iteration. The limit is for metrics that run no model.",
        "",
        "| | related | again | unrelated | repetitive | share | |",
        "|---|---|---|---|---|---|---|",
        *(reward_row(name, row, report) for name, row in there.items() if "reward_s" in row),
        "",
        "## Not in the tables",
        "",
        "| metric | why |",
        "|---|---|",
        *(f"| {name} | {row['absent']} |" for name, row in rows.items() if "absent" in row),
        *(f"| {name}, as a reward | {row['no_reward']} |" for name, row in there.items() if "no_reward" in row),
    ]
    return "\n".join(lines) + "\n"


def speed_row(name: str, row: Mapping[str, Any], pairs: Mapping[str, int]) -> str:
    """Return a line of the first table."""
    cells = [rate(pairs[key], row.get(f"{key}{end}")) for end in ("_s", "_package_s") for key in SETS]
    ratios = [row[f"{key}_package_s"] / row[f"{key}_s"] for key in SETS if f"{key}_package_s" in row]
    return f"| {name} | " + " | ".join(cells) + f" | {', '.join(f'{ratio:.1f}' for ratio in ratios)} |"


def rate(count: int, seconds: float | None) -> str:
    """Pairs per second with three digits."""
    if seconds is None:
        return ""
    value = count / max(seconds, 1e-6)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def reward_row(name: str, row: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Return a line of the second table."""
    seconds = row["reward_s"]
    slowest = max(seconds.values())
    verdict = "runs a model" if row["runs_a_model"] else "pass" if slowest <= report["limit_s"] else "**fail**"
    cells = " | ".join(f"{seconds[call]:.3f}" for call in CALLS)
    return f"| {name} | {cells} | {slowest / report['iteration_cpu_s']:.1%} | {verdict} |"


if __name__ == "__main__":
    sys.exit(main())
