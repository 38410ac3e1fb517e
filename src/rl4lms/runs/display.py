"""What a person sees while a run goes on: progress bars, or some lines where there is no terminal, and a few generated
texts at every evaluation.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from logging import LogRecord, getLogger
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from rl4lms.data.hub import quiet_datasets

# Their deprecations are of their own calls among each other; one that this library causes is raised in its name.
_LIBRARIES = r"(transformers|peft|accelerate|datasets|huggingface_hub|tokenizers|safetensors|torch|numpy|scipy)(\.|$)"
_SHOWN_TEXTS = 2
_SHOWN_BEFORE = 60  # characters of the prompt
_LINES = 20  # that a piece of work has where there is no terminal, about


def with_prompt(prompt: str, text: str, completion: str) -> Text:
    """Return a sampled text as `prompt → completion`, the prompt dim.

    Args:
        prompt: what was continued.
        text: both, decoded together; where it begins with the prompt, its rest is what is shown.
        completion: decoded alone.
    """
    rest = text[len(prompt) :] if text.startswith(prompt) else completion
    return Text.assemble((prompt.strip(), "dim"), " → ", rest.strip())


def sample_line(sample: Mapping[str, Any]) -> Text:
    """Return a sample of an evaluation on one line: `prompt → completion [reward]`. A long prompt loses its beginning.

    Args:
        sample: its `prompt`, `text` and `completion`, and its `reward`, None where it has none.
    """
    prompt, text, completion = (sample[key].replace("\n", " ") for key in ("prompt", "text", "completion"))
    shown = with_prompt(prompt, text, completion)
    cut = max(0, len(prompt.strip()) - _SHOWN_BEFORE)
    if cut:
        shown = Text("…", "dim") + shown[cut:]
    reward = sample.get("reward")
    return shown if reward is None else shown + Text(f" [{reward:.3g}]", "bold")


class _Unbreakable:
    """A text stream whose failures end nothing: a run goes on when its terminal is closed, or the pipe that reads its
    progress.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, call: Callable[..., object], *arguments: str) -> None:
        if not self._broken:
            try:
                call(*arguments)
            except (OSError, ValueError):  # a stream that is closed raises ValueError
                self._broken = True


class Display:
    """Progress on standard error; silent when `enabled` is False. Use as a context manager.

    Args:
        enabled: whether to show anything.
        texts: whether to print generated texts at evaluations.
    """

    def __init__(self, enabled: bool = True, texts: bool = True) -> None:
        self.console = Console(file=cast(TextIO, _Unbreakable(sys.stderr)), highlight=False)
        self._texts = texts
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not enabled,
        )
        self._enabled = enabled
        self._live = enabled and self.console.is_terminal  # in a file, bars would only leave blank lines
        self._bars: dict[str, TaskID] = {}
        self._told: dict[str, int] = {}

    def __enter__(self) -> Display:
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live:
            self._progress.stop()

    def report(self, name: str, done: int, total: int, note: str = "") -> None:
        """Move the bar called `name`, making it if need be; a finished bar goes. Without a terminal, print a line: of
        the first report, the last one, and some between.
        """
        if not self._live:
            if self._enabled:
                self._tell(name, done, total, note)
            return
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total, note=note)
        self._progress.update(self._bars[name], completed=done, total=total, note=note)
        if done >= total:
            self._progress.remove_task(self._bars.pop(name))

    def _tell(self, name: str, done: int, total: int, note: str) -> None:
        every = max(1, math.ceil(total / _LINES))
        last = self._told.get(name)
        if last is None or done < last or done // every > last // every or (done >= total and done > last):
            self.note(f"{name} {done}/{total}  {note}".rstrip())
            self._told[name] = done

    def note(self, line: str) -> None:
        """Print a line."""
        if self._enabled:
            self.console.print(line, markup=False, soft_wrap=True)

    def warn(self, warnings: Iterable[object]) -> None:
        """Print lines that nobody is to miss, whether progress is shown or not."""
        for line in warnings:
            self.console.print(Text(str(line), style="yellow"), soft_wrap=True)

    def iteration(self, name: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        """Progress of RL, with the numbers that people watch."""
        note = (
            f"score {numbers['rollout/score']:.3f}  KL {numbers['rollout/kl_per_sequence']:.2f}  "
            f"{numbers['time/tokens_per_s']:.0f} tok/s"
        )
        self.report(name, done, total, note)

    def evaluation(self, step: int, numbers: Mapping[str, float], samples: Sequence[Mapping[str, Any]]) -> None:
        """One line of numbers and a few texts."""
        if not self._enabled:
            return
        shown = {key.removeprefix("eval/"): value for key, value in numbers.items() if "/masked/" not in key}
        first = [
            key
            for key in ("reward", "kl_per_sequence", "perplexity", "reference_perplexity", "distinct-2")
            if key in shown
        ]
        line = "  ".join(f"{key} {shown[key]:.3f}" for key in first)
        self.console.print(Text(f"step {step}  {line}", style="bold"))
        for sample in samples[:_SHOWN_TEXTS] if self._texts else []:
            self.console.print(Text("  ") + sample_line(sample), soft_wrap=True)


def _is_no_advice(record: LogRecord) -> bool:
    return "passing in an `attention_mask`" not in record.getMessage()


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Turn off the bars of `transformers` and `datasets` for a while, and the advice to pass an attention mask:
    it is given wherever the first or last token is the pad token, though nothing is padded.
    """
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    of_models = getLogger("transformers.modeling_utils")
    of_models.addFilter(_is_no_advice)
    try:
        # Not imported for this: what loads data with it turns them off itself
        with quiet_datasets() if "datasets" in sys.modules else contextlib.nullcontext():
            yield
    finally:
        of_models.removeFilter(_is_no_advice)
        if bars:
            logging.enable_progress_bar()


def quiet_libraries() -> None:
    """Turn off the progress bars and notices that `transformers` and `datasets` print; ours say what matters.

    Deprecations inside of libraries are hidden as well: nobody who uses them through this library can act on them. What
    is raised in the name of this library or of a user's file is shown, and so is every other kind of warning, and
    everything where `-W` or PYTHONWARNINGS ask for warnings.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if "datasets" in sys.modules:
        sys.modules["datasets"].disable_progress_bars()
    else:  # not imported for this, which takes 80 MB and half a second: it reads the setting if anything imports it
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if not sys.warnoptions:
        for kind in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
            warnings.filterwarnings("ignore", category=kind, module=_LIBRARIES)
