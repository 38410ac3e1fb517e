"""Checkpoints: safetensors and JSON, written atomically, verified by checksum, pruned to the last few and the best.

A checkpoint holds weights, optimiser moments, the mask policy, the KL coefficient and the step. There is no random
state to save: sampling and data order are pure functions of (seed, step). Its manifest has the checksum of every file,
and one of itself.

A checkpoint of another `FORMAT` or with other settings is refused; one that other versions of the libraries wrote is
read, with a note.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

import rl4lms
from rl4lms.errors import CheckpointError, NonFiniteError
from rl4lms.models.policy import Policy
from rl4lms.models.saving import named_tensors
from rl4lms.runs.fingerprint import difference
from rl4lms.runs.storage import is_file, reading, replacing

# Raised when checkpoints are written so that versions before cannot read them; others are refused.
FORMAT = 3
_MANIFEST, _STATE = "manifest.json", "state.json"
_POLICY, _MASK_POLICY, _OPTIMIZER = "policy.safetensors", "mask_policy.safetensors", "optimizer.safetensors"
_REQUIRED, _OPTIONAL = {_POLICY, _OPTIMIZER, _STATE}, {_MASK_POLICY}


class Keeps(Protocol):
    """What has a state that is JSON."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass(slots=True)
class TrainState:
    """Everything that changes while training.

    Attributes:
        policy, mask_policy, optimizer: as trained; loading fills them in place.
        algorithm: may keep a state of its own (`state_dict`), which must be JSON.
        callbacks: likewise.
        step: iterations done.
        kl_coef: present weight of the KL term.
        best: value and step of the best evaluation so far, if any.
        skipped: iterations since the last one in which a row had a score.
        reward: states of the rewards that keep one, see `rl4lms.rewards.state_of`.
        unlogged: numbers of the last iteration as long as its line is not in the log; there it waits for its
            evaluation. None once it is.
    """

    policy: Policy
    optimizer: torch.optim.Optimizer
    mask_policy: Policy | None = None
    algorithm: Keeps | None = None
    step: int = 0
    kl_coef: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    skipped: int = 0
    reward: list[dict[str, Any]] = field(default_factory=list)
    unlogged: dict[str, float] | None = field(default_factory=dict)
    callbacks: Keeps | None = None


class Checkpoints:
    """The `checkpoints/` folder of a run.

    Args:
        folder: where checkpoints lie, as `step-<N>` folders; the run folder around it must exist.
        keep_last: how many of the newest are kept, besides the best.
        fingerprint: what a checkpoint must agree with to be loaded (the settings that determine the numbers).
        may_change: those of its keys that may differ, with a note: a reward that failed must be repaired for the run to
            go on.
    """

    def __init__(
        self, folder: Path, keep_last: int, fingerprint: Mapping[str, Any], may_change: Iterable[str] = ()
    ) -> None:
        self.folder, self.keep_last, self.fingerprint = folder, keep_last, dict(fingerprint)
        self.may_change = frozenset(may_change)

    def path(self, step: int) -> Path:
        """Folder of one checkpoint."""
        return self.folder / f"step-{step:06d}"

    def steps(self) -> list[int]:
        """Return steps with a folder, ascending; their contents are not verified here."""
        return steps_in(self.folder)

    def save(self, state: TrainState) -> Path:
        """Write a checkpoint beside its final place and rename it, so that it is there whole or not at all.

        Raises:
            NonFiniteError: a weight is NaN or infinite; nothing is written, so that the last checkpoint stays a good
                one.
        """
        policies = {_POLICY: state.policy} | (
            {_MASK_POLICY: state.mask_policy} if state.mask_policy is not None else {}
        )
        for name, tensor in named_tensors(state.policy).items():
            if not tensor.isfinite().all():
                raise NonFiniteError(
                    f"the weight {name} is nan or infinite after iteration {state.step}; it was not saved"
                )
        self.folder.mkdir(exist_ok=True)  # without parents: a run folder that was deleted stays deleted
        final = self.path(state.step)
        with replacing(final) as temporary:
            for name, policy in policies.items():
                save_file(_contiguous(named_tensors(policy)), temporary / name)
            save_file(_optimizer_tensors(state.optimizer), temporary / _OPTIMIZER)
            numbers = {"step": state.step, "kl_coef": state.kl_coef, "best": state.best}
            numbers |= {"skipped": state.skipped, "reward": state.reward, "unlogged": state.unlogged}
            numbers["algorithm"] = _json_state("algorithm", state.algorithm)
            numbers["callbacks"] = _json_state("callbacks", state.callbacks)
            about = {"versions": versions(), "fingerprint": self.fingerprint}
            (temporary / _STATE).write_text(json.dumps(numbers | about, indent=1), encoding="utf-8")
            files = {
                path.name: {"sha256": _sha256(path), "bytes": path.stat().st_size}
                for path in sorted(temporary.iterdir())
            }
            manifest: dict[str, Any] = {"format": FORMAT, "files": files}
            manifest["sha256"] = _digest(manifest)
            (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        self.prune(state)
        return final

    def prune(self, state: TrainState) -> None:
        """Remove all but the newest, the best and the present one."""
        keep = {*self.steps()[-self.keep_last :], int(state.best.get("step", -1)), state.step}
        for step in self.steps():
            if step not in keep:
                shutil.rmtree(self.path(step))

    def drop_after(self, step: int) -> None:
        """Remove checkpoints newer than `step`, the one that `latest` found: damaged ones, which a resumed run writes
        anew.
        """
        for newer in self.steps():
            if newer > step:
                shutil.rmtree(self.path(newer))

    def latest(self) -> tuple[int | None, list[str]]:
        """Return the newest checkpoint that is complete and undamaged, and a line about every newer one that is not.

        Raises:
            CheckpointError: a newer one is intact, but of another format than this version reads.
            StorageError: the system does not let a newer one be read. It may be intact, so no older one
                takes its place.
        """
        complaints: list[str] = []
        with reading(self.folder):
            steps = self.steps()
        for step in reversed(steps):
            problem = verify(self.path(step))
            if problem is None:
                return step, complaints
            complaints.append(f"checkpoint step-{step:06d} is not usable: {problem}")
        return None, complaints

    def load(self, step: int, state: TrainState) -> list[str]:
        """Fill `state` from a checkpoint.

        Returns:
            Notes for the user: what has changed since the checkpoint was written and may, such as the version of a
                library.

        Raises:
            CheckpointError: it is damaged, or belongs to another run (the differing settings are named).
            StorageError: the system does not let it be read.
        """
        with reading(self.path(step)):
            return self._load(step, state)

    def load_algorithm(self, step: int, algorithm: Keeps) -> None:
        """Give an algorithm the state that it had; errors as for `load`."""
        folder = self.path(step)
        with reading(folder):
            _load_algorithm(folder, algorithm, json.loads((folder / _STATE).read_text(encoding="utf-8")))

    def _load(self, step: int, state: TrainState) -> list[str]:
        folder = self.path(step)
        problem = verify(folder)
        if problem is not None:
            raise CheckpointError(f"{folder}: {problem}")
        numbers = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        theirs, ours = numbers["fingerprint"], json.loads(json.dumps(self.fingerprint))
        differing = sorted(key for key in {*theirs, *ours} if theirs.get(key) != ours.get(key))
        refused = [f"  {difference(key, theirs, ours)}" for key in differing if key not in self.may_change]
        if refused:
            raise CheckpointError(f"{folder} was written with other settings:\n" + "\n".join([*refused, _ANEW]))
        load_policy(folder / _POLICY, state.policy)
        if state.mask_policy is not None:
            load_policy(folder / _MASK_POLICY, state.mask_policy)
        _load_optimizer(folder / _OPTIMIZER, state.optimizer)
        state.step, state.kl_coef, state.best = numbers["step"], numbers["kl_coef"], numbers["best"]
        state.skipped, state.unlogged = numbers["skipped"], numbers["unlogged"]
        state.reward = numbers["reward"]
        if state.algorithm is not None:
            _load_algorithm(folder, state.algorithm, numbers)
        if state.callbacks is not None:
            state.callbacks.load_state_dict(numbers["callbacks"])
        notes = [f"{difference(key, theirs, ours)} since the checkpoint was written" for key in differing]
        now = versions()
        changed = [
            f"{name} {then} then, {now.get(name)} now"
            for name, then in numbers["versions"].items()
            if then != now.get(name)
        ]
        if changed:
            notes.append(
                f"{folder.name} was written by other versions, so the last digits may differ: {'; '.join(changed)}"
            )
        return notes


def steps_in(folder: Path) -> list[int]:
    """Return steps with a folder in a `checkpoints/` folder, ascending; none where there is no such folder.

    Raises:
        OSError: it cannot be listed. `Path.glob` would find nothing in it.
    """
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name.removeprefix("step-")
                for entry in entries
                if entry.name.startswith("step-") and entry.is_dir()
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name) for name in names if name.isdecimal())


def _json_state(kind: str, keeper: Keeps | None) -> dict[str, Any]:
    state = {} if keeper is None else keeper.state_dict()
    for key, value in state.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            owner = type(keeper).__name__
            raise CheckpointError(f"{kind} {owner!r}: state_dict()[{key!r}] is no JSON value: {error}") from error
    return state


def _load_algorithm(folder: Path, algorithm: Keeps, numbers: Mapping[str, Any]) -> None:
    try:
        algorithm.load_state_dict(numbers["algorithm"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: the algorithm cannot continue from its state: {error}") from error


def load_policy(path: Path, policy: Policy) -> None:
    """Copy saved tensors into a policy of the same shape.

    Raises:
        CheckpointError: names or shapes differ.
    """
    saved, present = load_file(path), named_tensors(policy)
    wrong = sorted(
        n for n in {*saved, *present} if n not in saved or n not in present or saved[n].shape != present[n].shape
    )
    if wrong:
        raise CheckpointError(
            f"{path}: tensors differ from the model's: {', '.join(wrong[:5])}{' …' if len(wrong) > 5 else ''}"
        )
    for name, tensor in present.items():
        tensor.copy_(saved[name])


def verify(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint folder, or None.

    Raises:
        CheckpointError: nothing is wrong, but it has another format than this version reads.
        StorageError: the system does not let it be read: a disk that fails, no permission, a mount that went away.
    """
    with reading(folder):
        return _problem(folder)


def _problem(folder: Path) -> str | None:
    path = folder / _MANIFEST
    if not is_file(path):
        return "it has no manifest (an interrupted write)"
    try:
        manifest = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return "its manifest is not JSON"
    claimed = manifest.pop("sha256", None) if isinstance(manifest, dict) else None
    # The first format had no more than the files
    if isinstance(manifest, dict) and isinstance(manifest.get(_POLICY), dict):
        raise CheckpointError(_OTHER_FORMAT.format(folder=folder, theirs=1))
    if claimed != _digest(manifest):
        return "its manifest does not match its own checksum"
    theirs, files = manifest.get("format"), manifest.get("files")
    if theirs != FORMAT:
        raise CheckpointError(_OTHER_FORMAT.format(folder=folder, theirs=theirs))
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        return "its manifest does not say what its files are"
    unknown = sorted({*files} - _REQUIRED - _OPTIONAL)
    if unknown:  # also whatever lies outside of the folder
        return f"its manifest lists {unknown[0]!r}, which is no part of a checkpoint"
    for name in sorted(_REQUIRED | {*files}):
        if name not in files:
            return f"its manifest does not list {name}"
        problem = _verify_file(folder / name, files[name])
        if problem is not None:
            return f"{name} {problem}"
    step = json.loads((folder / _STATE).read_text(encoding="utf-8"))["step"]
    return None if folder.name == f"step-{step:06d}" else f"it holds iteration {step}, so the folder was renamed"


_OTHER_FORMAT = (
    f"{{folder}} has format {{theirs}}, and this version of rl4lms reads format {FORMAT}; "
    "finish the run with the version that began it (its env.json names it), or start it anew in another output_dir"
)


def _verify_file(path: Path, entry: Mapping[str, Any]) -> str | None:
    if not is_file(path):
        return "is missing"
    if path.stat().st_size != entry.get("bytes") or _sha256(path) != entry.get("sha256"):
        return "does not match its checksum"
    return None


def versions() -> dict[str, str]:
    """Return versions of what determines the numbers of a run beside its settings."""
    return {"rl4lms": rl4lms.__version__, "torch": torch.__version__, "transformers": transformers.__version__}


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    # SGD without momentum has a state that is None
    return {
        f"{i}.{name}": t.contiguous() for i, moments in state.items() for name, t in moments.items() if t is not None
    }


def _load_optimizer(path: Path, optimizer: torch.optim.Optimizer) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in load_file(path).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(manifest: Any) -> str:
    """Over everything else in the manifest, whatever its format."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


_ANEW = (
    "a run goes on with the settings and files that it began with: leave these out to continue it, or train anew in "
    "another output_dir (--output)"
)
