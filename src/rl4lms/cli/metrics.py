"""`rl4lms metrics`: score files of texts, and put WordNet where METEOR finds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rl4lms.evaluation.score_file import Ready
    from rl4lms.evaluation.text_files import Columns, Texts
    from rl4lms.evaluation.two_systems import Difference
    from rl4lms.plugins.component import Component

SCORE_EPILOG = (
    "Example:  rl4lms metrics score outputs.jsonl --metric rouge --metric '{name: cider_d, corpus: train.jsonl}'  ·  "
    "rl4lms metrics score ours.jsonl theirs.jsonl --metric sacrebleu  ·  rl4lms metrics score outputs.txt --references "
    "ref0.txt --references ref1.txt --metric chrf"
)
EPILOG = "Example:  rl4lms metrics setup-wordnet --from /usr/share/wordnet"
#: Exit code where a metric that was asked for is absent.
ABSENT = 3


def score(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE [OTHER]",
            help="Rows with completion and references: JSONL, JSON, CSV, Parquet, Hub id; or one text per line: .txt. "
            "With a second file the two systems are compared.",
        ),
    ],
    metric: Annotated[
        list[str], typer.Option(help="A metric, with options as {name: rouge, stemmer: false}; repeat for more.")
    ],
    corpus: Annotated[
        str | None, typer.Option(help="File whose references give document frequencies (CIDEr, BERTScore with idf).")
    ] = None,
    completion_column: Annotated[str, typer.Option(help="Column with the text to score.")] = "completion",
    references_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column with a reference or a list of them; repeat for more. By default: references.",
            show_default=False,
        ),
    ] = None,
    references: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="File with the references of each row instead: one per line (.txt, an empty line: none), or rows; "
            "repeat for more.",
            show_default=False,
        ),
    ] = None,
    prompt_column: Annotated[str, typer.Option(help="Column with the prompt or source.")] = "prompt",
    prompts: Annotated[
        str | None, typer.Option(metavar="FILE", help="File with the prompt or source of each row instead.")
    ] = None,
    text_column: Annotated[
        str, typer.Option(help="Column with prompt and completion as one text, if any; none: no column is that.")
    ] = "text",
    output: Annotated[
        Path | None, typer.Option(help="Write numbers, signatures and values per row to this JSON file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON instead of a table.")] = False,
    allow_absent: Annotated[
        bool, typer.Option("--allow-absent", help="End with 0 and not 3 where a metric cannot be computed here.")
    ] = False,
) -> None:
    """Score texts of any system with metrics; prints mean and standard error.

    Of two systems it prints both, the difference (second less first) with its 95 % interval, and a p-value: paired
    bootstrap and permutation, on the rows that have the same id or prompt. Where a metric cannot be computed here
    (WordNet, Java, a package is missing) the others are, and the exit code is 3; it is 2 where none could be.
    """
    from rl4lms.errors import ConfigError
    from rl4lms.evaluation import score_file, text_files

    components = _named(metric)
    if len(files) > 2:
        raise ConfigError(f"{len(files)} files: two systems are compared; score more of them two at a time")
    if output is not None:
        from rl4lms.runs.outputs import check_file

        check_file(output, "--output")  # now, and not after the scoring
    names = tuple(references_column or text_files.Columns().references)
    columns = text_files.Columns(completion_column, names, prompt_column, text_column)
    texts = _read(files, columns, references or [], prompts)
    ready = score_file.make_ready(components, corpus)
    if output is None:
        score_file.refuse_unread(ready, columns, references or (), prompts)
    content, table = _one(texts[0], ready, columns) if len(texts) == 1 else _two(texts, ready, columns)
    _report(content, table, output, as_json)
    if ready.absent and not allow_absent:
        raise typer.Exit(ABSENT)


def _named(metric: list[str]) -> list[Component]:
    """Read what `--metric` names."""
    from rl4lms.config.reader import read_text
    from rl4lms.evaluation.score_file import named_metrics
    from rl4lms.plugins.building import as_component

    values = [read_text(text, f"--metric {text}", lines=False)[0] for text in metric]
    return named_metrics(
        [as_component(value, "metric", f"--metric {text}") for text, value in zip(metric, values, strict=True)]
    )


def _read(files: list[str], columns: Columns, references: list[str], prompts: str | None) -> list[Texts]:
    """Read the texts of each file; what is not there is told before anything that imports for seconds."""
    from rl4lms.cli import common
    from rl4lms.evaluation.text_files import is_local, read_texts, refuse_columns_of_nothing

    refuse_columns_of_nothing(files, columns, references, prompts)
    if not all(map(is_local, [*files, *references, *filter(None, [prompts])])):
        common.quiet()  # or `datasets` shows bars
    texts = [read_texts(file, columns, references=references, prompts=prompts) for file in files]
    common.quiet()
    return texts


def _report(content: Mapping[str, Any], table: Any, output: Path | None, as_json: bool) -> None:
    """Write and print what was found.

    Raises:
        ConfigError: that is nothing.
    """
    import json
    import sys

    from rl4lms.cli import common
    from rl4lms.errors import ConfigError
    from rl4lms.runs.storage import write_text

    def as_text(content: Mapping[str, Any]) -> str:
        return json.dumps(content, indent=1, ensure_ascii=False)

    if as_json:
        print(as_text({name: part for name, part in content.items() if name != "samples"}))
    else:
        common.console().print(table)
    for name, why in content["absent"].items():
        print(f"absent: {name}: {why}", file=sys.stderr)
    if content["absent"] and not content["results"]:
        raise ConfigError("none of the metrics could be computed")
    if output is not None:
        write_text(output, as_text(content) + "\n")
        print(f"written to {output}", file=sys.stderr if as_json else sys.stdout)


def _one(texts: Texts, ready: Ready, columns: Columns) -> tuple[dict[str, Any], Any]:
    """Score one system; return what a result file holds, and a table."""
    from rl4lms.cli import common
    from rl4lms.evaluation.score_file import records, score_texts

    found = score_texts(texts, ready, columns)
    results = {key: result.summary() for key, result in found.items()}
    table = common.results_table(f"{texts.path}: {len(texts)} texts", results, ready.absent)
    samples = records(texts, found)
    return {"file": texts.path, "results": results, "absent": ready.absent, "samples": samples}, table


def _two(given: list[Texts], ready: Ready, columns: Columns) -> tuple[dict[str, Any], Any]:
    """Compare two systems, likewise."""
    from rl4lms.evaluation.score_file import records, score_texts
    from rl4lms.evaluation.two_systems import differences, pair

    first, second, by = pair(*given)
    one, other = (score_texts(texts, ready, columns) for texts in (first, second))
    found = differences(one, other)
    samples = [{"first": a, "second": b} for a, b in zip(records(first, one), records(second, other), strict=True)]
    title = f"{first.path} (first) and {second.path}: {len(first)} pairs by {by}; difference: second less first"
    content = {
        "files": [first.path, second.path],
        "paired_by": by,
        "results": {key: difference.summary() for key, difference in found.items()},
        "absent": ready.absent,
        "samples": samples,
    }
    return content, _table_of_two(title, found, ready.absent)


def _table_of_two(title: str, found: Mapping[str, Difference], absent: Iterable[str]) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from rl4lms.cli.common import number

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("metric", no_wrap=True, overflow="fold")
    for name in ("first", "second", "difference", "95 % interval", "p", "n"):
        table.add_column(name, justify="right")
    for key, difference in found.items():
        low, high, p = difference.low, difference.high, difference.p
        interval = "" if low is None or high is None else f"{low:.3g} to {high:.3g}"
        numbers = (difference.first.mean, difference.second.mean, difference.value)
        table.add_row(Text(key), *map(number, numbers), interval, "" if p is None else f"{p:.2g}", str(difference.n))
    for key in absent:
        table.add_row(Text(key), "absent", *[""] * 5)
    return Group(Text(title, style="bold"), table)


def setup_wordnet(
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FOLDER", help="A local WordNet: its folder, a folder of nltk data, or a zip file."
        ),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Download it with nltk instead (11 MB).")] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="A folder of nltk data to put it into; default: one in the cache of rl4lms."
        ),
    ] = None,
) -> None:
    """Put WordNet where METEOR finds it. Without --from and --download, from where the system's packages keep it."""
    import tempfile

    from rl4lms.errors import ConfigError
    from rl4lms.metrics import wordnet

    if download and source is not None:
        raise ConfigError("--from and --download name two sources; give one of them")
    folder = wordnet.own_folder() if to is None else to / "corpora" / "wordnet"
    with tempfile.TemporaryDirectory(prefix="rl4lms-wordnet-") as temporary:
        if download:
            place = _download(Path(temporary))
        else:
            place = wordnet.source_in(source) if source is not None else _usual_place(wordnet.USUAL_PLACES)
        words = _install(place, folder)
    print(f"WordNet      {words} words, from {'a download' if download else place}\nis now in    {folder}")
    if folder not in wordnet.search_places():
        print(f"to be found  set NLTK_DATA={to}")
    print("used by      metric or reward: meteor")


def _install(source: Path, folder: Path) -> int:
    """Copy and try it; the folder appears, or is replaced, only when all went well. Returns the number of words."""
    from rl4lms.errors import ConfigError
    from rl4lms.metrics.wordnet import WordNet, copy_into
    from rl4lms.runs.storage import replacing

    if folder.resolve() == source.resolve():
        raise ConfigError(f"{folder} is both where WordNet is and where it should go; there is nothing to do")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as new:
        copy_into(source, new)
        return len(WordNet(new))


def _usual_place(places: tuple[Path, ...]) -> Path:
    from rl4lms.errors import ConfigError

    for place in places:
        if (place / "index.noun").is_file():
            return place
    raise ConfigError(
        "there is no WordNet in the usual places of this system; install it (Debian, Ubuntu: apt install "
        "wordnet-base) and run this again, "
        "name its folder with --from FOLDER, or let nltk download it with --download"
    )


def _download(folder: Path) -> Path:
    """WordNet as nltk downloads it."""
    from nltk.downloader import Downloader

    from rl4lms.errors import ConfigError
    from rl4lms.metrics.wordnet import source_in

    try:
        Downloader().download("wordnet", download_dir=str(folder), quiet=True, raise_on_error=True)
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"nltk could not download WordNet: {error}; without a connection, name a local copy with --from FOLDER"
        ) from error
    return source_in(folder)
