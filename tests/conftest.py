"""What every test gets: no network, one thread, its own cache folder."""

from __future__ import annotations

import gc
import os
import signal
import socket
from pathlib import Path
from typing import Any

# before anything imports a Hugging Face library
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pytest

# A shared machine can stall for longer than any deadline; what is tested is values.
hypothesis.settings.register_profile("rl4lms", deadline=None)
hypothesis.settings.load_profile("rl4lms")

# A shell that starts the tests in the background has SIGINT ignored, and `nohup` SIGHUP: everything they start would
# inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

_LOOPBACK = ("127.", "::1", "localhost")


# Fixtures that start processes. Their tests come first and together, so that of several workers one starts them, once.
_PROCESSES = {"two_processes", "nursery"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not _PROCESSES & set(getattr(item, "fixturenames", ())))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests and whole libraries are never collected: without this, every `gc.collect` of a trainer (half a
    second) and every full collection looks through them again.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections beyond this machine fail loudly."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded(original: Any) -> Any:
        def call(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(_LOOPBACK):
                raise RuntimeError(f"a test tried to reach the network: {address}")
            return original(self, address)

        return call

    monkeypatch.setattr(socket.socket, "connect", guarded(connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(connect_ex))


@pytest.fixture(autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder shared by the tests of one worker, never the user's own."""
    folder = tmp_path_factory.getbasetemp() / "rl4lms-cache"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("RL4LMS_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data and the real small model; tests that need it are skipped where it is absent."""
    folder = os.environ.get("RL4LMS_TEST_DATA")
    if not folder:
        pytest.skip("RL4LMS_TEST_DATA is not set: no real data to test with")
    return Path(folder)
