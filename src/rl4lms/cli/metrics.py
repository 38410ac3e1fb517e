"""`rl4lms metrics`: score files of texts, and put WordNet where METEOR finds it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SCORE_EPILOG = (
    "Example:  rl4lms metrics score outputs.jsonl --metric rouge --metric '{name: cider_d, corpus: train.jsonl}'"
)
EPILOG = "Example:  rl4lms metrics setup-wordnet --from /usr/share/wordnet"


def score(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="Rows with completion and references: JSONL, JSON, CSV, Parquet, Hub id."),
    ],
    metric: Annotated[
        list[str], typer.Option(help="A metric, with options as {name: rouge, stemmer: false}; repeat for more.")
    ],
    corpus: Annotated[
        str | None, typer.Option(help="File whose references give document frequencies (CIDEr, BERTScore with idf).")
    ] = None,
    completion_column: Annotated[str, typer.Option(help="Column with the text to score.")] = "completion",
    references_column: Annotated[str, typer.Option(help="Column with a reference or a list of them.")] = "references",
    prompt_column: Annotated[str, typer.Option(help="Column with the prompt or source.")] = "prompt",
    text_column: Annotated[
        str, typer.Option(help="Column with prompt and completion as one text, if any; none: no column is that.")
    ] = "text",
    output: Annotated[
        Path | None, typer.Option(help="Write numbers, signatures and values per row to this JSON file.")
    ] = None,
) -> None:
    """Score texts of any system with metrics; prints mean and standard error."""
    import json
    import sys

    from rl4lms.cli import common
    from rl4lms.config.reader import read_text
    from rl4lms.errors import ConfigError

    values = [read_text(text, f"--metric {text}", lines=False)[0] for text in metric]
    common.quiet()
    from rl4lms.evaluation.score_file import score_file
    from rl4lms.plugins.building import as_component
    from rl4lms.runs.outputs import check_file
    from rl4lms.runs.storage import write_text

    components = [as_component(value, "metric", f"--metric {text}") for text, value in zip(metric, values, strict=True)]
    if output is not None:
        check_file(output, "--output")  # now, and not after the scoring
    columns = {
        "completion_column": completion_column,
        "references_column": references_column,
        "prompt_column": prompt_column,
        "text_column": text_column,
    }
    scored = score_file(file, components, corpus=corpus, samples=output is not None, **columns)
    results = {key: result.summary() for key, result in scored.results.items()}
    common.console().print(common.results_table(f"{file}: {len(scored.samples)} texts", results, scored.absent))
    for name, why in scored.absent.items():
        print(f"absent: {name}: {why}", file=sys.stderr)
    if scored.absent and not results:
        raise ConfigError("none of the metrics could be computed")
    if output is not None:
        content = {"file": file, "results": results, "absent": scored.absent, "samples": scored.samples}
        write_text(output, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        print(f"written to {output}")


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
