"""lm-evaluation-harness runs exported tasks, and its numbers are this library's for the same greedy decoding."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import rl4lms
from rl4lms.grue.board import boards
from rl4lms.grue.verify import find_cells, verify
from rl4lms.tasks import build
from tests.cli.test_cli import call
from tests.tiny import tiny_lm

pytestmark = pytest.mark.doors
pytest.importorskip("lm_eval", reason="lm_eval is not installed: make test-doors")

GREEDY = "evaluation.generation={temperature: 0, max_new_tokens: 12}"
NAME = "rl4lms_commongen_mini"


def harness(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "lm_eval", *words], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def save_model(folder: Path, family: str) -> Path:
    """A random model that knows the words of the task."""
    samples = build({"name": "commongen", "edition": "mini"}).samples("test")
    words = sorted({word for sample in samples for text in sample.references for word in text.split()})
    vocab = {word: i for i, word in enumerate(["<pad>", "</s>", "<s>", *words, "<unk>"])}
    made = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=80, **names).save_pretrained(folder)
    tiny_lm(family, vocab_size=len(vocab)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "tasks"
    out = call("grue", "to-lm-eval", str(folder), "--tasks", "commongen", "evaluation.prompts=12", GREEDY)
    assert out.exit_code == 0, out.stderr
    return folder


def test_it_lists_and_validates_an_exported_task(tasks: Path) -> None:
    assert NAME in harness("ls", "tasks", "--include_path", str(tasks))
    assert "valid" in harness("validate", "--tasks", NAME, "--include_path", str(tasks)).lower()


@pytest.mark.parametrize(("family", "backend"), [("gpt2", "causal"), ("t5", "seq2seq")])
def test_its_numbers_are_ours_for_the_same_greedy_decoding(
    tasks: Path, tmp_path: Path, family: str, backend: str
) -> None:
    model = save_model(tmp_path / "lm", family)
    args = ["--model", "hf", "--model_args", f"pretrained={model},backend={backend}", "--device", "cpu"]
    args += ["--include_path", str(tasks), "--tasks", NAME, "--batch_size", "4"]
    # it adds the prompts' length to that of an encoder-decoder's completions; docs/lm-eval.md says what to do
    args += ["--gen_kwargs", "max_length=13"] if backend == "seq2seq" else []
    harness("run", *args, "--log_samples", "--output_path", str(tmp_path / "out"))
    (path,) = (tmp_path / "out").rglob("results_*.json")
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["results"][NAME]

    ours = rl4lms.evaluate(
        str(model),
        task={"name": "commongen", "edition": "mini"},
        split="test",
        overrides=["evaluation.prompts=12", GREEDY],
    )
    (samples,) = path.parent.glob("samples_*.jsonl")
    theirs = {row["doc"]["id"]: row["resps"][0][0] for row in map(json.loads, samples.open(encoding="utf-8"))}
    assert theirs == {row["id"]: row["completion"] for row in ours.samples}
    assert len(set(theirs.values())) > 3  # a random model that says the same to all would compare nothing
    keys = {key.partition(",")[0] for key in said} & ours.results.keys()
    assert {"rouge1", "bleu-4", "cider", "concept_coverage", "distinct-2", "solved"} <= keys
    for key in keys:
        assert said[f"{key},none"] == pytest.approx(ours.results[key].mean, rel=1e-9), key
    for key in ("rouge1", "cider"):
        assert said[f"{key}_stderr,none"] == pytest.approx(ours.results[key].stderr, rel=1e-9), key
    assert said["distinct-2_stderr,none"] == "N/A"

    added = call("grue", "from-lm-eval", str(path), "--into", str(tmp_path / "grid"), "--system", "mine")
    assert added.exit_code == 0, added.stderr
    (cell,) = find_cells(tmp_path / "grid")
    assert verify(cell, {}) == []
    (board,) = boards(tmp_path / "grid", "own")
    assert board.rows["mine"][1]["cider"].value == pytest.approx(said["cider,none"], rel=1e-9)


def test_a_part_of_the_prompts_is_refused(tasks: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "lm", "gpt2")
    args = ["--model", "hf", "--model_args", f"pretrained={model}", "--device", "cpu", "--limit", "5"]
    args += ["--include_path", str(tasks), "--tasks", NAME]
    harness("run", *args, "--log_samples", "--output_path", str(tmp_path / "out"))
    (path,) = (tmp_path / "out").rglob("results_*.json")
    added = call("grue", "from-lm-eval", str(path), "--into", str(tmp_path / "grid"), "--system", "mine")
    assert added.exit_code == 2
    assert "7 of 12 prompts of the test split have no prediction" in added.stderr
    assert not list((tmp_path / "grid").rglob("results.json"))
