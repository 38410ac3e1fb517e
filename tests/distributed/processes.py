"""Starts a function in two processes that know of each other, over gloo on this machine."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def in_two_processes(work: Callable[..., Any], *arguments: Any, n: int = 2, fresh: bool = False) -> None:
    """Call `work(rank, *arguments)` in `n` processes; whatever goes wrong in one fails the test with its traceback.

    Args:
        work: a function at the top of a module.
        arguments: of it.
        n: processes.
        fresh: leave the start of the process group to `work`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_begin, (port, n, fresh, work, arguments), nprocs=n)


def _begin(rank: int, port: int, n: int, fresh: bool, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(n),
        "LOCAL_RANK": str(rank),
    }
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    torch.set_num_threads(1)
    if not fresh:
        dist.init_process_group("gloo", rank=rank, world_size=n)
    try:
        work(rank, *arguments)
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
