"""The result of one system on one task with one seed and one way of decoding: the record that everything of a board is
computed from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from rl4lms.errors import DataError
from rl4lms.plugins.problems import first_problem
from rl4lms.runs.storage import write_text
from rl4lms.types import MetricResult

#: Goes up when a field is added, changed or taken away.
SCHEMA: Literal[2] = 2
RESULTS_FILE = "results.json"
#: Of a task or a system, which is the name of a folder, too.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=100)]
#: At its own settings (for NLPO inside its mask), and at those that all systems share.
Decoding = Literal["own", "shared"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Value(_Record):
    """One metric of a result; `mean` is null where it could not be computed, as of a reward that failed."""

    mean: float | None
    stderr: float | None = Field(description="over prompts of this run; null where the metric does not say")
    n: Annotated[int, Field(ge=0, description="texts that have a value")]
    higher_is_better: bool | None = None
    signature: str = Field("", description="implementation, version and options of the metric")

    @classmethod
    def of(cls, result: MetricResult) -> Value:
        """Return what a metric found; NaN becomes null."""
        return cls(
            mean=None if math.isnan(result.mean) else result.mean,
            stderr=None if result.stderr is None or math.isnan(result.stderr) else result.stderr,
            n=result.n,
            higher_is_better=result.higher_is_better,
            signature=result.signature,
        )


class Cost(_Record):
    """What a cell took. Of a cell that was interrupted, CPU seconds and memory are those of its last attempt."""

    attempts: Annotated[int, Field(ge=1)]
    cpu_s: Annotated[float, Field(ge=0)]
    wall_s: Annotated[float, Field(ge=0)]
    peak_memory_mb: Annotated[float, Field(ge=0)]
    iterations: Annotated[int, Field(ge=0)]
    tokens: Annotated[int, Field(ge=0, description="that training sampled, over all attempts that were kept")]


class Result(_Record):
    """One system on one task, with one seed, decoded in one way."""

    schema_version: Literal[1, 2] = SCHEMA
    task: Name
    task_version: int
    edition: str
    system: Name
    algorithm: str | None
    model: str = Field(description="that training began with, or that was decoded as it is")
    seed: int
    decoding: Decoding
    generation: dict[str, Any] = Field(description="how was decoded, the mask included")
    prompts: int = Field(ge=1)
    metrics: dict[str, Value]
    absent: dict[str, str] = Field(default_factory=dict, description="metrics that could not be computed, and why")
    fingerprint: str = Field(description="of the recipe and of what it begins with")
    git_commit: str | None = Field(description="of the library; null where it was installed from a wheel")
    packages: dict[str, str | None]
    processor: str | None = Field(
        None, description="kind of the processor, on which the numbers are the same to the last bit; null before 2"
    )
    cost: Cost | None = Field(description="null for predictions that were made elsewhere")
    scores: Literal["own.parquet", "shared.parquet"] = Field(
        description="the file of texts and values of each prompt, beside the result"
    )


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a result."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Result.model_json_schema()}


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Write results as JSON, all at once."""
    content = [result.model_dump(mode="json") for result in results]
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_results(path: Path) -> list[Result]:
    """Read results from a file.

    Raises:
        DataError: it is damaged, or not of this schema; the message names the key.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: must be a list of results")
    return [read_result(row, f"{path}: result {number}") for number, row in enumerate(rows, 1)]


def read_result(row: Any, where: str) -> Result:
    """Read one result.

    Raises:
        DataError: it is not of this schema.
    """
    if isinstance(row, Mapping) and isinstance(row.get("schema_version"), int) and row["schema_version"] > SCHEMA:
        raise DataError(
            f"{where}: schema version {row['schema_version']}, this rl4lms reads up to {SCHEMA}; update rl4lms"
        )
    try:
        return Result.model_validate(row)
    except ValidationError as error:
        problem = first_problem(Result, row if isinstance(row, Mapping) else {}, error)
        path, reason = problem or ((), str(error))
        raise DataError(f"{where}: {'.'.join(str(key) for key in path)}: {reason}") from error
