"""Models and data that a script hands over as objects. They are written into the run folder, so that a run can be
resumed, evaluated and generated from like any other, and the objects of the script stay as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rl4lms.errors import ConfigError, DataError, ModelError, nth_row
from rl4lms.models.adapter_folders import merged_copy
from rl4lms.runs.fingerprint import identity
from rl4lms.runs.storage import replacing, temporary_of, write_text

SPLITS = ("train", "validation", "test")
_FOLDER, _MODEL, _TOKENIZER = "given", "model", "tokenizer"


@dataclass(slots=True)
class Given:
    """What a script handed over.

    Attributes:
        model: a language model, or one with PEFT's adapters.
        tokenizer: of the model.
        rows: of each data set, by the name of its file; an iterable that can be gone through again.
    """

    model: Any = None
    tokenizer: PreTrainedTokenizerBase | None = None
    rows: dict[str, Iterable[Mapping[str, Any]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.model is not None or self.tokenizer is not None or bool(self.rows)

    def settings(self, folder: Path, blocks: Mapping[str, Any]) -> dict[str, Any]:
        """Return blocks of a recipe with the files of the objects in place of the objects.

        Args:
            folder: where `write` will put them.
            blocks: `model` and `data`, each a mapping.
        """
        found = {key: dict(block) for key, block in blocks.items()}
        if self.model is not None:
            found["model"]["path"] = str(folder / _FOLDER / _MODEL)
        if self.tokenizer is not None and self.model is None:
            found["model"]["tokenizer"] = str(folder / _FOLDER / _TOKENIZER)
        for name in self.rows:
            found["data"][name] = str(folder / _FOLDER / f"{name}.jsonl")
        return found

    def write(self, folder: Path) -> None:
        """Write the objects below a run folder; where they are there already, compare them.

        Raises:
            ConfigError: others are there.
            DataError: a row cannot be written.
            ModelError: adapters cannot be merged.
        """
        place = folder / _FOLDER
        if self:
            place.mkdir(exist_ok=True)
        for name, rows in self.rows.items():
            _write_rows(place / f"{name}.jsonl", rows)
        if self.tokenizer is not None and not _is_there(place / "tokenizer.sha256", _identity(self.tokenizer)):
            with replacing(place / _TOKENIZER) as target:
                self.tokenizer.save_pretrained(target)
            write_text(place / "tokenizer.sha256", _identity(self.tokenizer) + "\n")
        if self.model is None:
            return
        model = merged_copy(self.model)
        if not _is_there(place / "model.sha256", identity(model)):
            with replacing(place / _MODEL) as target:
                model.save_pretrained(target)
                assert self.tokenizer is not None
                self.tokenizer.save_pretrained(target)
            write_text(place / "model.sha256", identity(model) + "\n")


def _is_there(known: Path, digest: str) -> bool:
    """Return whether an object was written by the run before, which left its digest.

    Raises:
        ConfigError: another one was.
    """
    if not known.is_file():
        return False
    if known.read_text(encoding="utf-8").strip() != digest:
        raise ConfigError(
            f"{known.with_suffix('')}: this run began with another {known.stem} than the one that is given now; give "
            "it as it was, or resume without objects: rl4lms.train(folder, resume=True)"
        )
    return True


def _identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a digest of what a tokenizer makes of texts and conversations."""
    named = [str(tokenizer.special_tokens_map), sorted(tokenizer.all_special_tokens)]
    said = [sorted(tokenizer.get_vocab().items()), named, str(tokenizer.chat_template)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def given_model(model: Any, tokenizer: Any) -> tuple[dict[str, Any], Any, PreTrainedTokenizerBase | None]:
    """Return the block `model` of a recipe, and model and tokenizer as far as they are objects.

    Args:
        model: a Hub id or folder, a language model, or one with PEFT's adapters.
        tokenizer: a Hub id or folder, a tokenizer, or None for the model's own.

    Raises:
        ModelError: a model without a tokenizer; or something that is neither.
    """
    own = tokenizer if isinstance(tokenizer, PreTrainedTokenizerBase) else None
    name = None if own is not None or tokenizer is None else str(tokenizer)
    if own is None and tokenizer is not None and not isinstance(tokenizer, str | Path):
        raise ModelError(f"tokenizer: {type(tokenizer).__name__} is no tokenizer of transformers, nor the name of one")
    if not is_model(model):
        if not isinstance(model, str | Path):
            raise ModelError(f"model: {type(model).__name__} is no language model of transformers, nor the name of one")
        named = {} if tokenizer is None else {"tokenizer": name or "<given>"}
        return {"path": str(model), **named}, None, own
    if own is None:
        from rl4lms.config.model import ModelConfig
        from rl4lms.models.loading import load_tokenizer

        name = name or getattr(model, "name_or_path", "") or ""
        if not name:
            raise ModelError(
                f"model: this {type(model).__name__} was made here, so nobody knows its tokenizer; pass tokenizer="
            )
        own = load_tokenizer(ModelConfig(path=name))
    return {"path": "<given>"}, model, own


def is_model(value: Any) -> bool:
    """Return whether something is a model object that can be trained: of transformers, or of PEFT around one."""
    return isinstance(value, PreTrainedModel) or (hasattr(value, "peft_config") and hasattr(value, "save_pretrained"))


def given_data(data: Any) -> tuple[dict[str, Any], dict[str, Iterable[Mapping[str, Any]]]]:
    """Return the block `data` of a recipe, and the rows of data sets that are objects, by split.

    Args:
        data: a path; a list of rows or of prompts, a `Dataset`, a pandas `DataFrame`; a `DatasetDict`; or a mapping
            like the block `data`, whose splits may be any of them.

    Raises:
        DataError: it is none of these, or a `DatasetDict` without a split `train`.
    """
    kind = _kind(data)
    if kind == "DatasetDict":
        unknown = sorted(set(data) - set(SPLITS))
        if unknown or "train" not in data:
            raise DataError(
                f"data: a DatasetDict with the splits {', '.join(data)}; they must be called train, validation and "
                "test, of which train must be there: data={'train': d['...'], 'validation': d['...']}"
            )
        data = {split: data.get(split) for split in SPLITS}
    elif not isinstance(data, Mapping):
        data = {"train": data, "validation": None, "test": None}
    block: dict[str, Any] = {}
    rows: dict[str, Iterable[Mapping[str, Any]]] = {}
    for key, value in data.items():
        if key not in SPLITS or value is None or isinstance(value, str | Path):
            block[key] = str(value) if isinstance(value, Path) else value
        else:
            rows[key], block[key] = _rows_of(value, f"data.{key}"), f"<given {key}>"
    return block, rows


def _kind(value: Any) -> str:
    """Return the name of a class of `datasets` or `pandas`, which need not be imported for that."""
    module = type(value).__module__.partition(".")[0]
    return type(value).__name__ if module in ("datasets", "pandas") else ""


def _rows_of(value: Any, what: str) -> Iterable[Mapping[str, Any]]:
    kind = _kind(value)
    if kind == "Dataset":
        return value
    if kind == "DataFrame":
        return [{str(k): v for k, v in row.items()} for row in value.to_dict("records")]
    if kind.startswith("Iterable"):
        raise DataError(
            f"{what}: an {kind} has no length and no order to draw from; take rows of it: list(dataset.take(10_000))"
        )
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise DataError(
            f"{what}: {type(value).__name__} is no data; give a path, a list of rows or of prompts, a datasets.Dataset "
            "or a DataFrame"
        )
    rows: list[Mapping[str, Any]] = []
    for index, row in enumerate(value):
        if not isinstance(row, str | list | Mapping):
            raise DataError(
                f"{what}, {nth_row(index)}: expected a mapping of columns or a prompt, got {type(row).__name__}"
            )
        rows.append({"prompt": row} if isinstance(row, str | list) else row)  # a list is a conversation
    return rows


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines; where the file is there, it must say the same."""
    if path.is_file():
        digest = hashlib.sha256()
        for line in _lines(path, rows):
            digest.update(line)
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest.hexdigest():
                raise ConfigError(
                    f"{path}: this run began with other rows than those that are given now; give the data as they "
                    "were, or resume without them: rl4lms.train(folder, resume=True)"
                )
        return
    temporary = temporary_of(path)
    with temporary.open("wb") as file:
        file.writelines(_lines(path, rows))
    temporary.rename(path)


def _lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    for index, row in enumerate(rows):
        try:
            line = _line(row)
        except (TypeError, ValueError):
            column, value = next((key, value) for key, value in row.items() if not _is_json(value))
            raise DataError(
                f"data.{path.stem}, {nth_row(index)}: the column {column!r} is {type(value).__name__}, which cannot be "
                "written as JSON; leave the column out, or make it texts and numbers"
            ) from None
        yield line


def _line(row: Any) -> bytes:
    return (json.dumps(row, ensure_ascii=False, default=_plain) + "\n").encode()


def _is_json(value: Any) -> bool:
    try:
        _line(value)
    except (TypeError, ValueError):
        return False
    return True


def _plain(value: Any) -> Any:
    """Return what JSON has for values of numpy, and for dates."""
    for method in ("tolist", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError
