"""SPICE: F1 of the propositions (objects, attributes, relations) that Stanford's parser reads in a text and in its
references.

Source: Anderson et al., "SPICE: Semantic Propositional Image Caption Evaluation" (2016). The computation is the
authors' Java program, run by the package aac-metrics, which has to be installed with its programs: `pip install
aac-metrics`, `aac-metrics-download`, and Java.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rl4lms.errors import DataError, MissingPartError
from rl4lms.metrics.support import check_references, signature
from rl4lms.plugins.packages import import_optional

_REMEDY = "run: pip install aac-metrics && aac-metrics-download, and have Java (8 or later) on the PATH"


class Spice:
    """SPICE, in [0, 1] for each text under the key `spice`. Seconds per call, for the start of Java: no reward for
    short iterations.

    A text without any word has the value 0. Where the Java program finds no proposition in text and references, it says
    nothing, and the row has no value.

    Raises:
        MissingPartError: aac-metrics, its program or Java is not there.
        BrokenPackageError: aac-metrics cannot be imported.
    """

    higher_is_better = True
    needs_references = True

    def __init__(self) -> None:
        absent = MissingPartError("the package aac-metrics, which SPICE needs,", _REMEDY)
        self._spice = import_optional("aac_metrics.functional", absent).spice
        if shutil.which(os.environ.get("AAC_METRICS_JAVA_PATH") or "java") is None:
            raise MissingPartError("Java, which SPICE needs,", _REMEDY)
        self.signature = signature("spice", implementation=f"aac-metrics-{_version()}")
        self._try()

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float | None]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference, or the Java program failed.
        """
        references = check_references("spice", references)
        values: list[float | None] = [0.0] * len(completions)
        rows = [row for row, text in enumerate(completions) if any(letter.isalnum() for letter in text)]
        if rows:
            try:
                _, scores = self._spice(
                    [_plain(completions[row]) for row in rows], [[_plain(t) for t in references[row]] for row in rows]
                )
            except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
                raise DataError(f"spice: the Java program behind aac-metrics failed: {error}") from error
            found = [float(score) for score in scores["spice"]]
            if len(found) != len(rows):
                raise DataError(f"spice: aac-metrics gave {len(found)} values for {len(rows)} texts")
            for row, score in zip(rows, found, strict=True):
                values[row] = None if math.isnan(score) else score
        return {"spice": values}

    def _try(self) -> None:
        """One short call: a program that was never downloaded shows now, not in the first evaluation.

        Raises:
            MissingPartError: the program is not there.
        """
        try:
            self._spice(["a dog runs"], [["a dog is running"]])
        except (FileNotFoundError, RuntimeError) as error:
            raise MissingPartError(f"a program that SPICE needs ({error})", _REMEDY) from error
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise MissingPartError(f"a working SPICE (it failed: {error})", _REMEDY) from error


def _plain(text: str) -> str:
    """On one line, in characters that can be written to a file."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def _version() -> str:
    try:
        return version("aac-metrics")
    except PackageNotFoundError:
        return "unknown"
