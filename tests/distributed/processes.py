"""Starts functions in two processes that know of each other, over gloo on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.runs import fork_server


def in_two_processes(*parts: Callable[[int, Path], Any], folder: Path, n: int = 2) -> None:
    """Call each of `parts` as `part(rank, folder)`, one after the other, in `n` processes; whatever goes wrong in one
    fails the test with its traceback.

    Starting a process is most of the time, so there is one start for all parts; each has a process group of its own.

    Args:
        parts: functions at the top of a module. One that is marked `starts_alone` begins without a process group.
        folder: they share it.
        n: processes.
    """
    fork_server()
    torch.multiprocessing.start_processes(
        _begin, (_free_ports(len(parts)), n, parts, folder), nprocs=n, start_method="forkserver"
    )


def starts_alone(part: Callable[[int, Path], Any]) -> Callable[[int, Path], Any]:
    """Leave the start of the process group to a part."""
    part.alone = True  # type: ignore[attr-defined]
    return part


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _begin(rank: int, ports: list[int], n: int, parts: tuple[Callable[[int, Path], Any], ...], folder: Path) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "RANK": str(rank),
        "WORLD_SIZE": str(n),
        "LOCAL_RANK": str(rank),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    torch.set_num_threads(1)
    for part, port in zip(parts, ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        if not hasattr(part, "alone"):
            dist.init_process_group("gloo", rank=rank, world_size=n)
        try:
            part(rank, folder)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


def gathered(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensor of every process."""
    parts = [torch.zeros_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor)
    return parts


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights that a process saved."""
    from safetensors.torch import load_file

    return load_file(path)
