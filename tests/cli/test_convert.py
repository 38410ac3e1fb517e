"""`rl4lms convert`, and `rl4lms train` on files of the original RL4LMs."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertForSequenceClassification
from typer.testing import CliRunner

from rl4lms.cli import common
from rl4lms.cli.main import app
from rl4lms.cli.train import _write_artefacts
from rl4lms.config import read_recipe
from rl4lms.runs.recipe import read_run
from tests.runs import metric_lines, save_tiny
from tests.tiny import word_tokenizer
from tests.unit.integrations.originals import original

DATA = os.environ.get("RL4LMS_TEST_DATA")


def call(*words: object) -> Any:
    return CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_recipe_is_written_beside_the_file_and_not_over_another(folder: Path) -> None:
    original(folder)
    result = call("convert", "old.yml")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("old.yml -> old.recipe.yaml\n  rollouts 4 prompts: n_steps 12 x n_envs 2 / max_")
    assert max(map(len, result.stdout.splitlines())) < 80
    recipe = read_recipe("old.recipe.yaml")
    assert (recipe.name, recipe.training.prompts_per_iteration) == ("old", 4)
    again = call("convert", "old.yml")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "old.recipe.yaml is there already" in again.stderr
    assert call("convert", "old.yml", "--force").exit_code == 0
    assert call("convert", "old.yml", "--output", "new/r.yaml").exit_code == 0
    assert read_recipe("new/r.yaml") == recipe


def test_a_folder_keeps_its_folders_and_one_refusal_costs_no_other_file(folder: Path) -> None:
    for name, changes in (("a", {}), ("b", {"datapool__id": "crd3"}), ("c", {"env__args__terminate_on_eos": "True,"})):
        (folder / "old" / name).mkdir(parents=True)
        original(folder / "old" / name, **changes)
    (folder / "old" / "native.yaml").write_text("model: gpt2\n")
    (folder / "old" / "mixed.yml").write_text((folder / "old" / "a" / "old.yml").read_text() + "model: gpt2\n")
    result = call("convert", "old", "--output", "new")
    assert result.exit_code == 2
    assert "2 files converted, 1 of them with faults that are repaired" in result.stdout
    assert "old/b/old.yml: refused\nerror: old/b/old.yml:" in result.stderr
    assert "model: no key of the original" in result.stderr
    assert "2 files refused" in result.stderr
    assert sorted(path.relative_to(folder / "new") for path in (folder / "new").rglob("*.yaml")) == [
        Path("a/old.yaml"),
        Path("c/old.yaml"),
    ]
    assert call("convert", "old", "--output", "one.yaml").exit_code == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["native.yaml"], "native.yaml: is no file of the original RL4LMs"),
        (["absent.yml"], "absent.yml: cannot be read"),
        (["empty"], "empty: no YAML file of the original RL4LMs is in it"),
        (["mixed.yml"], "model: is a key of recipes"),
    ],
)
def test_what_is_no_old_file_is_told(folder: Path, words: list[str], reason: str) -> None:
    (folder / "empty").mkdir()
    (folder / "native.yaml").write_text("model: gpt2\n")
    original(folder).rename("mixed.yml")
    Path("mixed.yml").write_text(Path("mixed.yml").read_text() + "model: gpt2\n")
    result = call("convert", *words)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_an_old_file_trains_as_it_is(folder: Path) -> None:
    """With the same numbers as the recipe that it is converted to, and with another model on the command line."""
    save_tiny(folder / "lm", "gpt2")
    old = original(folder, tokenizer__model_name="lm", alg__policy__args__model_name="lm")
    words = ("model.value=shared", "device=cpu", "-q")
    result = call("train", old.name, "--output", "a", *words)
    assert result.exit_code == 0, result.output
    assert "old.yml: a file of the original RL4LMs, which is run as:\n  rollouts 4 prompts: n_steps" in result.stderr
    assert call("convert", old.name, "--output", "new.yaml").exit_code == 0
    assert call("train", "new.yaml", "--output", "b", *words).exit_code == 0
    assert metric_lines(folder / "a") == metric_lines(folder / "b")
    assert len(metric_lines(folder / "a")) == 3
    assert read_run(folder / "a").name == "old"
    assert call("doctor", old.name, *words[:-1]).exit_code == 0
    save_tiny(folder / "other", "opt")
    assert call("train", old.name, "--model", "other", "--output", "c", *words, "training.iterations=1").exit_code == 0
    assert read_run(folder / "c").model.path == "other"


def test_of_several_processes_the_first_tells_and_writes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `torchrun` numbers them; also after they have parted, when each would take itself for the first."""
    old = original(folder)
    told = {}
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        recipe = common.read(old, ["output_dir=run"])
        told[rank] = capsys.readouterr().err
        Path("run").mkdir(exist_ok=True)
        Path("run/result.json").touch()
        if rank == "1":
            _write_artefacts(recipe)
            assert [path.name for path in Path("run").iterdir()] == ["result.json"]
    assert "a file of the original RL4LMs" in told["0"]
    assert told["1"] == ""


def test_strict_is_for_faults_of_old_files(folder: Path) -> None:
    original(folder, env__args__terminate_on_eos="True,")
    refused = call("train", "old.yml", "--strict", "--dry-run")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert 'env.args.terminate_on_eos: is the text "True,"' in refused.stderr
    (folder / "native.yaml").write_text("model: gpt2\ndata: x.jsonl\nreward: dates\n")
    assert "leave it out" in call("train", "native.yaml", "--strict").stderr
    assert "leave it out" in call("train", "--strict", "--model", "gpt2").stderr


# Each folder's data here, and a reward that needs no download.
LOCAL = {
    "common_gen": ["task.data_dir={data}/commongen", "reward=meteor_exact_stem"],
    "narrative_qa": ["task.data_dir={data}/narrativeqa"],
    "summarization": ["task.data_dir=cnndm", "reward=meteor_exact_stem"],
    "imdb_text_continuation": ["task.path=reviews.jsonl", "reward.model=classifier"],
    "synthetic_generate_dates": [],
    "synthetic_generate_increasing_numbers": [],
}
# Sizes of a tiny model and two iterations.
SMALL = "evaluation.prompts=4 device=cpu evaluation.metrics=[diversity] evaluation.generation.max_new_tokens=6"
SMALL += (
    " evaluation.generation.min_new_tokens=0 rollout.max_new_tokens=6 rollout.min_new_tokens=0 prompt.max_tokens=48"
)
ITERATIONS = "training.iterations=2 training.prompts_per_iteration=4"
STEPS = "supervised.max_steps=2 supervised.batch_size=4"
FILES = sorted(Path(DATA, "rl4lms_configs").rglob("*.yml")) if DATA else []
# One of each algorithm, and of each kind of model.
QUICK = (
    "common_gen/t5_nlpo",
    "imdb_text_continuation/gpt2_supervised",
    "synthetic_generate_increasing_numbers/blendorbot_ppo",
    "synthetic_generate_increasing_numbers/gpt2_a2c",
)


@pytest.mark.skipif(not FILES, reason="RL4LMS_TEST_DATA names the folder with files of the original")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for path in FILES
        for name in [f"{path.parent.name}/{path.stem}"]
    ],
)
def test_a_released_file_trains_on_local_data_with_a_tiny_model(folder: Path, test_data: Path, path: Path) -> None:
    place_data(folder, test_data)
    words = [word.format(data=test_data) for word in LOCAL[path.parent.name]]
    alone = path.stem.endswith("_supervised") and not path.stem.endswith("on_supervised")
    if alone:  # a warm start has no reward
        words = [word for word in words if not word.startswith("reward")]
    words += f"{SMALL} {STEPS if alone else ITERATIONS}".split()
    model = "t5" if path.stem.startswith("t5") else "bart" if path.stem.startswith("blend") else "gpt2"
    result = call("train", path, "--model", model, "--output", "run", "-q", *words)
    assert result.exit_code == 0, result.output
    assert [line["step"] for line in metric_lines(folder / "run")] == ([0] if alone else [0, 1, 2])
    assert (folder / "run" / "model" / "config.json").is_file()
    assert (folder / "run" / "supervised").is_dir() == alone


def place_data(folder: Path, data: Path) -> None:
    """Tiny models, and data in the layout of their tasks."""
    for family in ("gpt2", "t5", "bart"):
        save_tiny(folder / family, family)
    tokenizer = word_tokenizer()
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder / "classifier")
    tokenizer.save_pretrained(folder / "classifier")
    (folder / "cnndm").mkdir()
    with zipfile.ZipFile(data / "cnndm" / "train_sample.zip") as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("train_sample.csv"), "utf-8")))
    for split, part in (("train", rows[:60]), ("validation", rows[60:80]), ("test", rows[80:])):
        lines = [json.dumps({key: row[key] for key in ("article", "highlights")}) for row in part]
        (folder / "cnndm" / f"{split}.jsonl").write_text("\n".join(lines))
    labelled = (data / "imdb_labelled" / "imdb_labelled.txt").read_text(encoding="utf-8").strip().split("\n")
    found = [{"text": text, "label": int(label)} for text, _, label in (row.rpartition("\t") for row in labelled)]
    (folder / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
