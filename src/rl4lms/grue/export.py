"""Results in the formats of others: Every Eval Ever 0.3.0 (arXiv 2606.14516), and `.eval_results` of the HF Hub."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rl4lms.errors import ConfigError, did_you_mean
from rl4lms.grue.access import Access
from rl4lms.grue.board import boards, read_cells
from rl4lms.grue.result import Decoding, Result, Value
from rl4lms.grue.scores import Scores, read_scores
from rl4lms.grue.spec import Outside, recipe_of
from rl4lms.runs.outputs import check_folder
from rl4lms.runs.storage import replacing
from rl4lms.stats import mean_ci
from rl4lms.tasks import samples_of, task_of
from rl4lms.types import Sample

#: Of an organization, which is a folder.
ORGANIZATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_EEE = "0.3.0"
_CONFIDENCE = 0.95


def every_eval_ever(folder: Path, output: Path, organization: str, access: Access) -> int:
    """Write one record and one file of samples for each cell and decoding, as Every Eval Ever lays them out:
    `data/grue/ORGANIZATION/SYSTEM/UUID.json` and `UUID_samples.jsonl`.

    It has no seeds: a record is of one, which stands in the details of its model. Records are the same whenever they
    are written, but for the time in them.

    Args:
        folder: of a grid, or of submissions.
        output: folder that is made.
        organization: who vouches for the numbers.
        access: how cells are opened.

    Returns:
        How many records were written.

    Raises:
        ConfigError, DataError: as `board.read_cells`.
    """
    check_folder(output)
    cells = read_cells(folder)
    samples: dict[str, dict[str, Sample]] = {}
    now = f"{time.time():.0f}"
    with replacing(output) as temporary:
        for place, result in cells:
            spec = access.open(place)
            task = task_of(recipe_of(spec))
            if result.task not in samples:
                samples[result.task] = {sample.id: sample for sample in samples_of(task, "test")}
            record = _Record(result, read_scores(place / result.scores), organization, isinstance(spec, Outside))
            record.write(temporary, samples[result.task], now)
    return len(cells)


class _Record:
    """One cell, decoded in one way."""

    def __init__(self, result: Result, scores: Scores, organization: str, is_outside: bool) -> None:
        self.result, self.scores, self.organization, self.is_outside = result, scores, organization, is_outside
        r = result
        self.name = f"grue/{r.task}@{r.task_version}-{r.edition}"
        self.model = f"{organization}/{r.system}"
        what = f"{self.name}/{self.model}/seed-{r.seed}/{r.decoding}/{r.fingerprint}"
        # of version 4 in form, which the schema asks for, and the same for the same result
        self.uuid = str(uuid.UUID(bytes=hashlib.sha256(what.encode()).digest()[:16], version=4))

    def write(self, output: Path, samples: Mapping[str, Sample], now: str) -> None:
        """Write both files below `output`."""
        place = Path("data", "grue", self.organization, self.result.system)
        (output / place).mkdir(parents=True, exist_ok=True)
        evaluation = f"{self.name}/{self.model}/{now}"
        rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self._samples(evaluation, samples))
        path = place / f"{self.uuid}_samples.jsonl"
        (output / path).write_text(rows, encoding="utf-8")
        detailed = {
            "format": "jsonl",
            "file_path": path.as_posix(),
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(rows.encode()).hexdigest(),
            "total_rows": rows.count("\n"),
        }
        content = self._aggregate(evaluation, now) | {"detailed_evaluation_results": detailed}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        (output / place / f"{self.uuid}.json").write_text(text, encoding="utf-8")

    def _aggregate(self, evaluation: str, now: str) -> dict[str, Any]:
        r = self.result
        about = {"seed": str(r.seed), "starts_from": r.model, "fingerprint": r.fingerprint}
        about |= {} if r.algorithm is None else {"algorithm": r.algorithm}
        return {
            "schema_version": _EEE,
            "evaluation_id": evaluation,
            "retrieved_timestamp": now,
            "source_metadata": {
                "source_name": "GRUE",
                "source_type": "evaluation_run",
                "source_organization_name": self.organization,
                "evaluator_relationship": "third_party" if self.is_outside else "first_party",
            },
            "eval_library": {
                "name": "rl4lms",
                "version": r.packages.get("rl4lms") or "unknown",
                "additional_details": {} if r.git_commit is None else {"git_commit": r.git_commit},
            },
            "model_info": {
                "name": r.system,
                "id": self.model,
                "additional_details": {
                    "deployment_type": "unknown" if self.is_outside else "self_deployed",
                    "model_availability": "unknown",
                    **about,
                },
            },
            "evaluation_results": [
                self._metric(key, value) for key, value in r.metrics.items() if value.mean is not None
            ],
        }

    def _metric(self, key: str, value: Value) -> dict[str, Any]:
        r = self.result
        details = {"n": str(value.n), "decoding": r.decoding}
        better = value.higher_is_better
        note = "" if better is not None else "; neither direction is better, and lower_is_better says nothing"
        return {
            "evaluation_result_id": self._id(key),
            "evaluation_name": f"{self.name}/{key}",
            "source_data": {
                "dataset_name": f"{r.task} ({r.edition} edition, version {r.task_version}, test split)",
                "source_type": "other",
                "additional_details": {"prompts": str(r.prompts)},
            },
            "metric_config": {
                "evaluation_description": f"{key}, decoded at {_DECODINGS[r.decoding]}{note}",
                "metric_id": key,
                "metric_name": key,
                "lower_is_better": better is False,
                "additional_details": {"signature": value.signature} if value.signature else {},
            },
            "score_details": {
                "score": value.mean,
                "details": details,
                **({} if (uncertainty := self._uncertainty(key, value)) is None else {"uncertainty": uncertainty}),
            },
            "generation_config": _generation(r.generation),
        }

    def _uncertainty(self, key: str, value: Value) -> dict[str, Any] | None:
        if value.stderr is None:
            return None
        found: dict[str, Any] = {
            "standard_error": {"value": value.stderr, "method": "over prompts of one run"},
            "num_samples": value.n,
        }
        values = self.scores.values(key)
        if values is not None and len(values := values[np.isfinite(values)]) > 1:
            interval = mean_ci(values, confidence=_CONFIDENCE)
            found["standard_deviation"] = float(values.std(ddof=1))
            found["confidence_interval"] = {
                "lower": interval.low,
                "upper": interval.high,
                "confidence_level": _CONFIDENCE,
                "method": interval.method,
            }
        return found

    def _id(self, key: str) -> str:
        return f"{self.uuid}/{key}"

    def _samples(self, evaluation: str, samples: Mapping[str, Sample]) -> Iterator[dict[str, Any]]:
        rows = self.scores.predictions(samples)
        for key, column in self.scores.columns.items():
            if key not in self.result.metrics:
                continue
            for row, value in zip(rows, column.tolist(), strict=True):
                if value != value:  # has no value, and the schema no place for that
                    continue
                sample = samples[row.id]
                hashed = json.dumps([sample.prompt, list(sample.references)]).encode()
                yield {
                    "schema_version": _EEE,
                    "evaluation_id": evaluation,
                    "model_id": self.model,
                    "evaluation_name": f"{self.name}/{key}",
                    "evaluation_result_id": self._id(key),
                    "sample_id": row.id,
                    "sample_hash": hashlib.sha256(hashed).hexdigest(),
                    "interaction_type": "single_turn",
                    "input": {"raw": sample.prompt, "formatted": row.prompt, "reference": list(sample.references)},
                    "output": {"raw": [row.completion]},
                    "answer_attribution": [
                        {
                            "turn_idx": 0,
                            "source": "output.raw",
                            "extracted_value": row.completion,
                            "extraction_method": "the whole text",
                            "is_terminal": True,
                        }
                    ],
                    # asked for, and meant for answers that are right or wrong
                    "evaluation": {"score": value, "is_correct": value == 1.0},
                    "metadata": {"is_correct": "whether the score is 1"},
                }


_DECODINGS: Mapping[Decoding, str] = {"own": "the system's own settings", "shared": "settings that all systems share"}


def _generation(settings: Mapping[str, Any]) -> dict[str, Any]:
    names = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_new_tokens": "max_tokens"}
    return {
        "generation_args": {theirs: settings[ours] for ours, theirs in names.items() if settings.get(ours) is not None},
        "additional_details": {key: str(value) for key, value in settings.items() if key not in names},
    }


def hub_results(
    folder: Path, system: str, datasets: Mapping[str, str], *, decoding: Decoding = "own", source: str | None = None
) -> str:
    """Return the numbers of a system as a file for `.eval_results/` of its model on the HF Hub.

    The format has one value for each task of a data set, and no error: the means over prompts and seeds of the metrics
    that the task names, with error and seeds in the notes.

    Args:
        folder: of a grid, or of submissions.
        system: label of the row.
        datasets: Hub id of the data set of each task; others are left out.
        decoding: which of the two.
        source: URL of the results, if there is one.

    Raises:
        ConfigError: there is no such system, or a task that `datasets` names was not measured.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    tables = {table.task: table for table in boards(folder, decoding)}
    systems = sorted({name for table in tables.values() for name in table.rows})
    if system not in systems:
        raise ConfigError(f"{folder}: no system {system!r}; {did_you_mean(system, systems)}")
    entries: list[EvalResultEntry] = []
    for task, dataset in datasets.items():
        if task not in tables or system not in tables[task].rows:
            measured = [name for name, table in tables.items() if system in table.rows]
            raise ConfigError(f"task {task!r}: {system} was not measured on it; {did_you_mean(task, measured)}")
        table = tables[task]
        seeds, numbers = table.rows[system]
        for key, number in numbers.items():
            error = "" if number.stderr is None else f" ± {number.stderr:.2g}"
            notes = f"GRUE {task}@{table.version} {table.edition}, {_DECODINGS[decoding]}, {seeds} seeds{error}"
            value = round(number.value, 6)
            entries.append(EvalResultEntry(dataset, key, value, source_url=source, notes=notes))
    text: str = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
    return text


def pairs(texts: Sequence[str] | None, option: str, known: Sequence[str]) -> dict[str, str]:
    """Read `TASK=VALUE` of an option that can be repeated.

    Raises:
        ConfigError: one is none, or names no task that is there.
    """
    found = {}
    for text in texts or ():
        task, sign, value = text.partition("=")
        if not sign or not value:
            raise ConfigError(f"{option} {text}: write TASK=VALUE, such as {known[0]}=...")
        if task not in known:
            raise ConfigError(f"{option} {text}: no cell is of the task {task!r}; {did_you_mean(task, known)}")
        found[task] = value
    return found
