"""Whether the Hub can be asked. Its own client asks five times for each file, with a line of its log each time, and
says a minute later that something is not there; here it is asked once, before anything is loaded.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx2

from rl4lms.errors import DataError

# Seconds for which an answer is taken for the next one: of the several loads of one command, one asks.
_KEPT = 30.0
_last: tuple[float, str, str | None] | None = None


def unreachable(path: str) -> str | None:
    """Return why the Hub does not answer, where it is to be asked for `path`; else None.

    Args:
        path: a folder or file, for which nobody is asked, or a Hub id.
    """
    from huggingface_hub import constants

    if Path(path).exists() or not _is_id(path):
        return None
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE says not to ask it"
    global _last
    if _last is None or _last[1] != constants.ENDPOINT or time.monotonic() - _last[0] > _KEPT:
        _last = (time.monotonic(), constants.ENDPOINT, _asked(constants.ENDPOINT, constants.HF_HUB_ETAG_TIMEOUT))
    return _last[2]


def cached(model: str, revision: str | None = None) -> str | None:
    """Return the folder in the cache of the Hub that has this model; None where there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return str(snapshot_download(model, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def not_here(path: str, why: str, kind: Literal["model", "dataset"] = "model") -> str:
    """Return a message about what neither this machine has nor the Hub gives.

    Args:
        path: a Hub id.
        why: the Hub does not answer.
        kind: of the id.
    """
    from huggingface_hub import constants

    thing, cache, option = "folder", constants.HF_HUB_CACHE, ""
    if kind == "dataset":
        import datasets

        thing, cache, option = "file", datasets.config.HF_DATASETS_CACHE, " --repo-type dataset"
    return (
        f"there is no such {thing}, it is not in the cache ({cache}), and the Hub cannot be reached "
        f"({constants.ENDPOINT}: {why}); name a {thing} (get it where there is a network: hf download {path}{option} "
        f"--local-dir FOLDER), or set HF_HOME to a folder whose cache has it"
    )


@contextlib.contextmanager
def quiet_datasets() -> Iterator[Any]:
    """Yield `datasets` with its bars off meanwhile. It takes 80 MB and half a second: only what loads data with it
    imports it.
    """
    import datasets

    bars = not datasets.are_progress_bars_disabled()
    if bars:
        datasets.disable_progress_bars()
    try:
        yield datasets
    finally:
        if bars:
            datasets.enable_progress_bars()


def load_dataset(path: str, **options: Any) -> Any:
    """Return `datasets.load_dataset`, which takes a data set from its cache where the Hub does not answer.

    Raises:
        DataError: it cannot be loaded; the message begins with the path.
    """
    from datasets.load import CachedDatasetModuleFactory

    why = unreachable(path)
    try:
        if why is not None:
            CachedDatasetModuleFactory(path).get_module()  # FileNotFoundError where it is not in the cache
        with quiet_datasets() as datasets:
            return datasets.load_dataset(path, **options)
    except (OSError, ValueError, RuntimeError) as error:  # no such data set, no access, a damaged file
        if why is not None:
            raise DataError(f"{path}: {not_here(path, why, 'dataset')}") from error
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path}: there is no such file, and the Hub does not have it for you: {lines[0]}") from error


def _is_id(path: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(path)
    except HFValidationError:
        return False
    return True


def _asked(endpoint: str, timeout: float) -> str | None:
    """Any answer of a server that works will do, also that a page is forbidden."""
    try:
        status = httpx2.head(endpoint, timeout=timeout).status_code
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return str(error) or type(error).__name__
    return f"it answers with status {status}" if status >= 500 else None
