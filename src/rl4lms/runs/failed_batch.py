"""What an update that met NaN or infinity was working on, for inspection."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from rl4lms.errors import NonFiniteError
from rl4lms.runs.storage import replacing
from rl4lms.types import Experience

_PER_TOKEN = ("logprobs", "ref_logprobs", "kl", "scores", "rewards", "values", "advantages", "returns")


def save_batch(folder: Path, experience: Experience, iteration: int, error: NonFiniteError) -> str:
    """Write `failed-batch-<iteration>/` into the run folder.

    `rows.jsonl` has one line per completion of the failing minibatch, or each whose advantages are not finite, for
    people: texts, token ids, and what the update was given for every token, without padding; NaN and infinity are the
    texts "nan", "inf" and "-inf".
    `batch.safetensors` has the tensors of the whole iteration, and `minibatch`, the failing rows. `error.json` says
    what happened. Resuming the run repeats the failure.

    Args:
        folder: the run folder.
        experience: of the iteration.
        iteration: its number, from 1.
        error: what the algorithm raised; where it names no rows, all of them are written.

    Returns:
        Where it is, or why it is not there, as the end of a message.
    """
    final = folder / f"failed-batch-{iteration:06d}"
    try:
        with replacing(final) as target:
            _write(target, experience, iteration, error)
    except (OSError, SafetensorError) as problem:  # must not hide the error itself
        return f"its batch could not be written: {problem}"
    return f"its batch is in {final}"


def _write(target: Path, experience: Experience, iteration: int, error: NonFiniteError) -> None:
    rollout = experience.rollout
    rows = list(range(len(rollout))) if error.rows is None else error.rows
    lines = (json.dumps(_row(experience, row), ensure_ascii=False) for row in rows)
    (target / "rows.jsonl").write_text(
        "".join(line + "\n" for line in lines), encoding="utf-8", errors="backslashreplace"
    )
    tensors = {name: getattr(experience, name) for name in (*_PER_TOKEN, "row_mask")}
    tensors |= {
        name: getattr(rollout, name)
        for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "token_mask")
    }
    tensors["minibatch"] = torch.tensor(rows)
    save_file(
        {name: t.detach().contiguous() for name, t in tensors.items() if t is not None}, target / "batch.safetensors"
    )
    about = {"iteration": iteration, "error": str(error), "rows": rows}
    (target / "error.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _row(e: Experience, row: int) -> dict[str, Any]:
    rollout, sample = e.rollout, e.rollout.samples[row]
    mask = rollout.completion_mask[row]
    score = float(e.scores[row].sum()) if bool(e.row_mask[row]) else None
    texts = {
        "row": row,
        "id": sample.id,
        "prompt": sample.prompt,
        "completion": rollout.completions[row],
        "text": rollout.texts[row],
        "references": list(sample.references),
    }
    ids = {
        "prompt_ids": _numbers(rollout.prompt_ids[row], rollout.prompt_mask[row]),
        "completion_ids": _numbers(rollout.completion_ids[row], mask),
    }
    tensors = {name: getattr(e, name) for name in _PER_TOKEN}
    return {**texts, "score": _readable(score), **ids} | {
        name: _numbers(t[row], mask) for name, t in tensors.items() if t is not None
    }


def _numbers(values: Tensor, mask: Tensor) -> list[Any]:
    return [_readable(value) for value in values.detach()[mask].tolist()]


def _readable(value: Any) -> Any:
    """JSON has no NaN."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
