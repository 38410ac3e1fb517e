"""A Hub that cannot be reached: one question, one message, no waiting, and what the cache has is taken."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from rl4lms.data import hub


def closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.fixture(scope="module")
def away(tmp_path_factory):
    """The environment of a process whose Hub refuses the connection, with an empty cache."""
    home = tmp_path_factory.mktemp("hf")
    kept = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    return kept | {"HF_HOME": str(home), "HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}


@pytest.mark.parametrize(
    ("path", "asked"),
    [("org/name", True), ("name", True), (".", False), ("/no/such/folder", False), ("../folder", False)],
)
def test_only_for_a_hub_id_is_the_hub_asked(monkeypatch, path, asked):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_last", None)
    monkeypatch.setattr(hub, "_asked", lambda endpoint, timeout: "silence")
    assert hub.unreachable(path) == ("silence" if asked else None)


def test_that_the_environment_forbids_to_ask_is_a_reason():
    reason = hub.unreachable("org/name")
    assert reason is not None  # which these tests set
    assert "HF_HUB_OFFLINE" in reason


@pytest.mark.parametrize(
    ("status", "reason"), [(200, None), (404, None), (403, None), (503, "it answers with status 503")]
)
def test_any_answer_but_a_failure_will_do(status, reason):
    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert hub._asked(f"http://127.0.0.1:{server.server_port}", 5) == reason
    finally:
        server.shutdown()
        server.server_close()
    refused = hub._asked(f"http://127.0.0.1:{closed_port()}", 5)
    assert refused is not None
    assert "refused" in refused
    assert hub._asked("no address", 5)


def test_one_answer_is_taken_for_the_loads_that_follow(monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_last", None)
    monkeypatch.setattr(hub, "_asked", lambda endpoint, timeout: asked.append(endpoint))
    assert [hub.unreachable(name) for name in ("a/b", "c/d", "e")] == [None] * 3
    assert len(asked) == 1
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://elsewhere")
    hub.unreachable("a/b")
    assert asked[1:] == ["http://elsewhere"]


# Every way to a file of the Hub: what is called, and whom the message names.
DOORS = """
import sys, time
from pathlib import Path
from transformers import AutoModel, AutoModelForSequenceClassification
from rl4lms.config.model import ModelConfig
from rl4lms.data.rows import open_rows
from rl4lms.errors import Rl4lmsError
from rl4lms.metrics import build
from rl4lms.models import loading
from rl4lms.supervised import reward_model
from rl4lms.tasks.imdb import reviews

model = ModelConfig(path="some-org/absent")
doors = {
    "language model": lambda: loading.load_lm(model, "cpu"),
    "tokenizer": lambda: loading.load_tokenizer(model),
    "weights": lambda: loading.load_pretrained(AutoModel, "some-org/absent", "the thing"),
    "reward model": lambda: reward_model._load("some-org/absent", ["a", "b"], "labels", "right", 0, "cpu"),
    "rows": lambda: open_rows("some-org/absent"),
    "reviews": lambda: reviews._from_hub("some-org/absent"),
    **{
        name: (lambda given: lambda: build(given))({"name": name, "model": "some-org/absent", **options})
        for name, options in {
            "embedding_similarity": {}, "bert_score": {"layer": 2}, "bleurt": {}, "classifier": {}, "summac_zs": {},
            "intent_accuracy": {}, "perplexity": {},
        }.items()
    },
}
start = time.monotonic()
for name, door in doors.items():
    try:
        door()
    except Rl4lmsError as error:
        print(f"{name}\\t{error}")
assert time.monotonic() - start < 20, "it was asked more than once"  # five times are 23 seconds, for each file
"""


@pytest.mark.slow
def test_every_door_says_it_at_once(away):
    done = subprocess.run(
        [sys.executable, "-c", DOORS], env=away, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.split("\t") for line in done.stdout.splitlines())
    assert len(told) == 13
    for name, message in told.items():
        assert "some-org/absent" in message, name
        assert f"the Hub cannot be reached ({away['HF_ENDPOINT']}: " in message, name
        assert "hf download some-org/absent" in message, name
        assert "set HF_HOME" in message, name
    assert "Retrying" not in done.stderr
    assert "thrown while requesting" not in done.stderr


@pytest.mark.slow
def test_the_command_says_it_with_exit_code_2(away, tmp_path: Path):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"completion": "a", "references": ["b"]}\n')
    command = [sys.executable, "-m", "rl4lms", "metrics", "score", str(file), "--metric"]
    given = "{name: embedding_similarity, model: some-org/absent}"
    done = subprocess.run([*command, given], env=away, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert done.stderr.count("the Hub cannot be reached") == 1
    assert "Retrying" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow  # seconds, in processes of its own
def test_what_the_cache_has_is_taken(away, tmp_path):
    script = """
import os, shutil, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.unit.metrics.encoders import saved_bert
from transformers import AutoModel, BertModel
folder, _, _ = saved_bert(Path(sys.argv[2]), BertModel)
cached = Path(os.environ["HF_HOME"]) / "hub" / "models--some-org--kept"
shutil.copytree(folder, cached / "snapshots" / "0123")
(cached / "refs").mkdir()
(cached / "refs" / "main").write_text("0123")
from rl4lms.errors import ModelError
from rl4lms.metrics.pretrained import load_runner
from rl4lms.metrics.runner import RunnerOptions
runner = load_runner("mine", AutoModel, "some-org/kept", "encoder", RunnerOptions(device="cpu"))
print(len(runner.run(["w0 w1"], lambda output, inputs: output.last_hidden_state)))
(cached / "snapshots" / "0123" / "model.safetensors").unlink()
try:
    load_runner("mine", AutoModel, "some-org/kept", "encoder", RunnerOptions(device="cpu"))
except ModelError as error:
    print(error)
"""
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", script, root, str(tmp_path)]
    done = subprocess.run(command, env=away, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows, message = done.stdout.splitlines()
    assert rows == "1"
    assert "the encoder 'some-org/kept' cannot be loaded: " in message
    assert "model.safetensors" in message
    assert "Retrying" not in done.stderr
