"""`rl4lms metrics setup-wordnet`: put WordNet where METEOR finds it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Example:  rl4lms metrics setup-wordnet --from /usr/share/wordnet"


def setup_wordnet(
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="A local WordNet: its folder, a folder of nltk data, or a zip file.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Download it with nltk instead (11 MB).")] = False,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A folder of nltk data to put it into; default: one in the cache of rl4lms.")
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
    """Copies and tries it; the folder appears, or is replaced, only when all went well. Returns the number of words."""
    from rl4lms.errors import ConfigError
    from rl4lms.metrics.wordnet import WordNet, copy_into
    from rl4lms.training.storage import replacing

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
        "there is no WordNet in the usual places of this system; install it (Debian, Ubuntu: apt install wordnet-base) and run this again, "
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
