"""Checkpoints: safetensors and JSON, written atomically, verified by checksum, pruned to the last few and the best.

A checkpoint holds weights, optimiser moments, the mask policy, the KL coefficient and the step. There is no random state to save:
sampling and data order are pure functions of (seed, step).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rl4lms.errors import CheckpointError
from rl4lms.models.policy import Policy
from rl4lms.models.saving import named_tensors

FORMAT = 1


@dataclass(slots=True)
class TrainState:
    """Everything that changes while training.

    Attributes:
        policy, mask_policy, optimizer: as trained; loading fills them in place.
        step: iterations done.
        kl_coef: present weight of the KL term.
        best: value and step of the best evaluation so far, if any.
    """

    policy: Policy
    optimizer: torch.optim.Optimizer
    mask_policy: Policy | None = None
    step: int = 0
    kl_coef: float = 0.0
    best: dict[str, float] = field(default_factory=dict)


class Checkpoints:
    """The `checkpoints/` folder of a run.

    Args:
        folder: where checkpoints lie, as `step-<N>` folders.
        keep_last: how many of the newest are kept, besides the best.
        fingerprint: what a checkpoint must agree with to be loaded (the settings that determine the numbers).
    """

    def __init__(self, folder: Path, keep_last: int, fingerprint: Mapping[str, Any]) -> None:
        self.folder, self.keep_last, self.fingerprint = folder, keep_last, dict(fingerprint)

    def path(self, step: int) -> Path:
        """Folder of one checkpoint."""
        return self.folder / f"step-{step:06d}"

    def steps(self) -> list[int]:
        """Steps with a folder, ascending; their contents are not verified here."""
        return sorted(int(p.name.removeprefix("step-")) for p in self.folder.glob("step-*") if p.is_dir())

    def save(self, state: TrainState) -> Path:
        """Writes a checkpoint beside its final place and renames it, so that it is there whole or not at all."""
        final = self.path(state.step)
        temporary = self.folder / f".writing-{state.step:06d}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(_contiguous(named_tensors(state.policy)), temporary / "policy.safetensors")
        if state.mask_policy is not None:
            save_file(_contiguous(named_tensors(state.mask_policy)), temporary / "mask_policy.safetensors")
        save_file(_optimizer_tensors(state.optimizer), temporary / "optimizer.safetensors")
        numbers = {"format": FORMAT, "step": state.step, "kl_coef": state.kl_coef, "best": state.best, "fingerprint": self.fingerprint}
        (temporary / "state.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
        files = sorted(temporary.iterdir())
        manifest = {path.name: {"sha256": _sha256(path), "bytes": path.stat().st_size} for path in files}
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for path in [*files, temporary / "manifest.json", temporary]:
            _fsync(path)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        _fsync(self.folder)
        self._prune(state)
        return final

    def _prune(self, state: TrainState) -> None:
        keep = {*self.steps()[-self.keep_last :], int(state.best.get("step", -1)), state.step}
        for step in self.steps():
            if step not in keep:
                shutil.rmtree(self.path(step))

    def drop_after(self, step: int) -> None:
        """Removes checkpoints newer than `step`: damaged ones, which a resumed run writes anew."""
        for newer in self.steps():
            if newer > step:
                shutil.rmtree(self.path(newer))

    def latest(self) -> tuple[int | None, list[str]]:
        """The newest checkpoint that is complete and undamaged, and a line about every newer one that is not."""
        complaints: list[str] = []
        for step in reversed(self.steps()):
            problem = verify(self.path(step))
            if problem is None:
                return step, complaints
            complaints.append(f"checkpoint step-{step:06d} is not usable: {problem}")
        return None, complaints

    def load(self, step: int, state: TrainState) -> None:
        """Fills `state` from a checkpoint.

        Raises:
            CheckpointError: it is damaged, or belongs to another run (the differing settings are named).
        """
        folder = self.path(step)
        problem = verify(folder)
        if problem is not None:
            raise CheckpointError(f"{folder}: {problem}")
        numbers = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        theirs, ours = numbers["fingerprint"], json.loads(json.dumps(self.fingerprint))
        differing = sorted(key for key in {*theirs, *ours} if theirs.get(key) != ours.get(key))
        if differing:
            lines = [f"  {key}: {theirs.get(key)!r} in the checkpoint, {ours.get(key)!r} now" for key in differing]
            raise CheckpointError(f"{folder} was written with other settings:\n" + "\n".join(lines))
        load_policy(folder / "policy.safetensors", state.policy)
        if state.mask_policy is not None:
            load_policy(folder / "mask_policy.safetensors", state.mask_policy)
        _load_optimizer(folder / "optimizer.safetensors", state.optimizer)
        state.step, state.kl_coef, state.best = numbers["step"], numbers["kl_coef"], numbers["best"]


def load_policy(path: Path, policy: Policy) -> None:
    """Copies saved tensors into a policy of the same shape.

    Raises:
        CheckpointError: names or shapes differ.
    """
    saved, present = load_file(path), named_tensors(policy)
    wrong = sorted(n for n in {*saved, *present} if n not in saved or n not in present or saved[n].shape != present[n].shape)
    if wrong:
        raise CheckpointError(f"{path}: tensors differ from the model's: {', '.join(wrong[:5])}{' …' if len(wrong) > 5 else ''}")
    for name, tensor in present.items():
        tensor.copy_(saved[name])


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return "it has no manifest (an interrupted write)"
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return "its manifest is not JSON"
    for name, entry in entries.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"] or _sha256(path) != entry["sha256"]:
            return f"{name} does not match its checksum"
    return None


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value.contiguous() for index, moments in state.items() for name, value in moments.items()}


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


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
