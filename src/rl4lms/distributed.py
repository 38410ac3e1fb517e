"""Many processes as one: shares of work, sums, rows gathered, and what one process does for all. Every function is a
no-op on one.

Each process holds the whole iteration: completions and log-probs are computed in shares and gathered, so that whatever
is computed of them (advantages, baselines, statistics) is the same everywhere, and right without further ado. Gradients
and evaluations are summed.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rl4lms import errors
from rl4lms.errors import ProcessError, Rl4lmsError

T = TypeVar("T")

# What launchers set, and what libraries take for a request to run on several processes themselves.
_LAUNCHER = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
)
# A warm start in one process may take hours, while the others wait. One that died is noticed at once, whatever the
# limit.
_PATIENCE = datetime.timedelta(days=7)
_FAILURE = "rl4lms/failure"
_BUCKET_BYTES = 25 * 2**20


@contextlib.contextmanager
def started() -> Iterator[None]:
    """Join the processes that `torchrun` or `accelerate launch` started, and leave them at the end; nothing where there
    are none.

    The first error in any process ends all of them with its message.

    Raises:
        ProcessError: another process failed.
    """
    ours = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized()
    if ours:
        accelerator = torch.cuda.is_available()
        if accelerator:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if accelerator else "gloo", timeout=_PATIENCE)
    try:
        yield
    except BaseException as error:
        if world_size() > 1:
            first = _tell(f"process {rank()}: {type(error).__name__}: {error}")
            if (
                isinstance(error, RuntimeError)
                and not isinstance(error, Rl4lmsError)
                and not first.startswith(f"process {rank()}:")
            ):
                raise ProcessError(f"the run ends, because another process failed: {first}") from error
        raise
    finally:
        if ours:
            dist.destroy_process_group()


def _tell(failure: str) -> str:
    """Leave a message for the other processes; return the first that was left."""
    store: Any = dist.distributed_c10d._get_default_store()
    try:
        return str(store.compare_set(_FAILURE, "", failure).decode())
    except RuntimeError:  # the process that kept the messages is gone
        return "the first process, whose message is in its own output"


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hide the launcher from libraries that would take its variables for a request to work with all processes."""
    hidden = {name: os.environ.pop(name) for name in _LAUNCHER if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def rank() -> int:
    """Return the index of this process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Return whether this process writes files and logs."""
    return rank() == 0


def share(n: int) -> range:
    """Return which of n things this process works on: consecutive ones, as many as any other process, give or take
    one.
    """
    return range(rank() * n // world_size(), (rank() + 1) * n // world_size())


def share_of(rows: Tensor) -> Tensor:
    """Return every world-size-th of some rows (m,), which may be none."""
    return rows[rank() :: world_size()]


def gather_rows(rows: Tensor, fill: float | bool = 0) -> Tensor:
    """Concatenate the rows (b, t, ...) of all processes in their order, to (sum of b, largest t, ...).

    Args:
        rows: this process's; b and t may differ between processes, further dimensions may not.
        fill: what is written on the right of rows that are shorter.
    """
    if world_size() == 1:
        return rows
    sizes = [torch.zeros(2, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    flat = rows if rows.ndim > 1 else rows[:, None]
    dist.all_gather(sizes, torch.tensor(flat.shape[:2], device=rows.device))
    shapes = torch.stack(sizes).tolist()
    most, widest = (max(column) for column in zip(*shapes, strict=True))
    padded = flat.new_full((most, widest, *flat.shape[2:]), fill)
    padded[: flat.shape[0], : flat.shape[1]] = flat
    kind = padded.dtype
    padded = padded.to(torch.uint8) if kind == torch.bool else padded  # gloo sends no booleans
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    whole = torch.cat([part[:n] for part, (n, _) in zip(parts, shapes, strict=True)]).to(kind)
    return whole if rows.ndim > 1 else whole[:, 0]


def only_main(work: Callable[[], T]) -> T | None:
    """Let the first process do something, while the others wait; None is what they get. An error is raised by all of
    them.
    """
    if world_size() == 1:
        return work()
    result: T | None = None
    if is_main():
        try:
            result = work()
        except BaseException as error:
            _broadcast(_described(error))
            raise
    told = _broadcast(None)
    if told is not None:
        raise _remade(told)
    return result


def from_main(work: Callable[[], T]) -> T:
    """Let the first process do something whose result is JSON, and give the result to all. An error is raised by all of
    them.
    """
    result = only_main(work)
    return _broadcast(result) if world_size() > 1 else result  # type: ignore[return-value]


def gather(value: T) -> list[T]:
    """Return a value of every process, in their order; it must be possible to pickle it."""
    found = [value] * world_size()
    if world_size() > 1:
        dist.all_gather_object(found, value)
    return found


def _described(error: BaseException) -> dict[str, Any]:
    plain = all(isinstance(argument, str | int | float | list | None) for argument in error.args)
    return {
        "kind": type(error).__name__,
        "args": list(error.args) if plain else [str(error)],
        "text": f"{type(error).__name__}: {error}",
        "about": {name: _plain(value) for name, value in vars(error).items()},
    }


def _plain(value: Any) -> Any:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return None
    return value


def _remade(told: dict[str, Any]) -> BaseException:
    """Make the error that the first process raised, so that all of them go the same way."""
    kind = getattr(errors, told["kind"], None)
    if isinstance(kind, type) and issubclass(kind, BaseException):
        error = kind.__new__(kind, *told["args"])
        error.__dict__.update(told["about"])
        error.args = tuple(told["args"])
        return error
    return ProcessError(f"the first process failed: {told['text']}")


def _broadcast(value: Any) -> Any:
    """Send a JSON value from the first process to all."""
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    data = (
        torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        if is_main()
        else torch.empty(0, dtype=torch.uint8)
    )
    size = torch.tensor([len(data)], device=device)
    dist.broadcast(size, 0)
    data = data.to(device) if is_main() else torch.empty(int(size), dtype=torch.uint8, device=device)
    dist.broadcast(data, 0)
    return value if is_main() else json.loads(bytes(data.cpu().numpy()))


def any_of(flag: bool) -> bool:
    """Return whether any process says yes."""
    if world_size() == 1:
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    return bool(all_max(torch.tensor([float(flag)], device=device)))


def all_max(value: Tensor) -> Tensor:
    """Return the largest `value` of any process, element by element."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value, dist.ReduceOp.MAX)
    return value


def same_weights(module: nn.Module) -> None:
    """Give every process the first one's parameters."""
    if world_size() > 1:
        for parameter in module.parameters():
            dist.broadcast(parameter.data, 0)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum gradients over processes, some megabytes at a time; a process without one counts as zero.

    A sum and not a mean: losses are divided by counts of the whole minibatch. Once per optimiser step, after the last
    backward pass, whatever the number of passes, which may be none, and whichever parameters each of them used; torch's
    own wrapper (which a policy can be put in as well) takes part in every backward pass, and reduces a parameter that
    only some of them use at the wrong time.
    """
    if world_size() == 1:
        return
    parameters = list(parameters)
    has = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    for parameter, some in zip(parameters, all_max(has).tolist(), strict=True):
        if some and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    bucket: list[Tensor] = []
    for gradient in [p.grad for p in parameters if p.grad is not None]:
        if bucket and (gradient.dtype != bucket[0].dtype or sum(g.nbytes for g in bucket) > _BUCKET_BYTES):
            _sum_bucket(bucket)
            bucket = []
        bucket.append(gradient)
    if bucket:
        _sum_bucket(bucket)


def _sum_bucket(gradients: list[Tensor]) -> None:
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))


def mean(values: Tensor, mask: Tensor | None = None) -> float:
    """Return the mean over the True entries; NaN where there are none."""
    mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
    kind = torch.float32 if values.device.type == "mps" else torch.float64  # MPS has no float64
    total, count = torch.stack([values.to(kind)[mask].sum(), mask.sum().to(kind)]).tolist()
    return total / count if count else float("nan")
