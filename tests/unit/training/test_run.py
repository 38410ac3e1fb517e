"""What a run leaves behind, what it refuses, and that nothing leaves the machine unless asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import rl4lms
from rl4lms.config import read_recipe
from rl4lms.config.model import ModelConfig
from rl4lms.errors import ConfigError, DataError, RewardError, StorageError
from rl4lms.runs.display import Display
from rl4lms.training.run import run, tell_adapter
from tests.runs import number_prompts, save_tiny, small_loop, small_recipe


def longest(completions: list[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def test_a_run_folder_is_complete_and_reproduces_the_run(tmp_path: Path) -> None:
    result = run(small_recipe(tmp_path))
    names = {path.name for path in result.folder.iterdir()}
    assert names == {
        "config.resolved.yaml",
        "env.json",
        "metrics.jsonl",
        "samples",
        "evaluations",
        "checkpoints",
        "model",
        "value",
        "result.json",
    }
    environment = json.loads((result.folder / "env.json").read_text())
    assert (
        environment["packages"]["torch"] == torch.__version__.split("+")[0]
        or environment["packages"]["torch"] == torch.__version__
    )
    summary = json.loads((result.folder / "result.json").read_text())
    assert summary["iterations"] == 3
    assert summary["eval"]["eval/reward"]["n"] == 8
    assert summary["eval"]["eval/reward"]["stderr"] > 0
    card = (result.model / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers")
    assert "clip_range: 0.2" in card
    recipe = read_recipe(result.folder / "config.resolved.yaml", [f"output_dir={tmp_path / 'again'}"])
    again = run(recipe)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (result.model, again.model))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("model", "trunk", "adapter"),
    [
        ({"value": "shared"}, "shared", False),
        ({"value": "separate"}, "separate", False),
        ({"value": "shared", "lora": {"r": 2}}, "shared", False),
        ({"value": "separate", "lora": {"r": 2}}, "adapter", True),
    ],
)
def test_the_value_function_is_saved_beside_the_model(
    tmp_path: Path, model: dict[str, Any], trunk: str, adapter: bool
) -> None:
    pytest.importorskip("peft")
    result = run(small_recipe(tmp_path, model=model, training={"iterations": 1}))
    assert json.loads((result.folder / "value" / "head.json").read_text()) == {"trunk": trunk}
    tensors = load_file(result.folder / "value" / "head.safetensors")
    assert {"linear.weight", "linear.bias"} <= tensors.keys()
    assert any(".lora_B.value." in name and bool(tensor.any()) for name, tensor in tensors.items()) == adapter
    assert (result.folder / "value" / "lm" / "model.safetensors").is_file() == (trunk == "separate")
    assert not [path.name for path in result.model.iterdir() if "value" in path.name]  # a plain HF folder


def test_the_python_entry_takes_a_model_and_a_function(tmp_path: Path) -> None:
    data = str(number_prompts(tmp_path / "prompts.jsonl"))
    result = rl4lms.train(
        str(save_tiny(tmp_path / "lm", "gpt2")),
        data={"train": data, "validation": data},
        reward=longest,
        prompt={"max_tokens": 8},
        rollout={"max_new_tokens": 4},
        training={"iterations": 1, "prompts_per_iteration": 4},
        evaluation={"prompts": 4, "on_training_data": True},
        output_dir=str(tmp_path / "run"),
        progress=False,
    )
    assert result.metrics["eval/reward"] > 0


def test_rl_without_a_reward_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reward: none is named"):
        run(small_recipe(tmp_path, reward=None))


def test_the_hub_is_used_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    class Api:
        def create_repo(self, repo_id: str, **options: Any) -> None:
            calls.append(("create", {"repo_id": repo_id, **options}))

        def upload_folder(self, **options: Any) -> None:
            calls.append(("upload", options))

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    run(small_recipe(tmp_path))
    assert calls == []
    result = run(small_recipe(tmp_path, output_dir=str(tmp_path / "shared"), push_to_hub={"repo_id": "me/model"}))
    assert calls == [
        ("create", {"repo_id": "me/model", "private": True, "exist_ok": True}),
        ("upload", {"repo_id": "me/model", "folder_path": result.folder / "model"}),
    ]


def test_parts_of_a_sum_are_logged(tmp_path: Path) -> None:
    parts = [
        {"reward": {"name": "increasing_numbers", "min_tokens": 6}, "weight": 2.0},
        {"reward": "dates", "weight": 0.5},
    ]
    result = run(small_recipe(tmp_path, reward={"name": "sum", "parts": parts}))
    line = json.loads((result.folder / "metrics.jsonl").read_text().splitlines()[1])
    assert line["rollout/score"] == pytest.approx(
        2 * line["rollout/score/increasing_numbers"] + 0.5 * line["rollout/score/dates"], abs=1e-6
    )
    assert "eval/reward/increasing_numbers" in result.metrics


def test_trackers_are_closed_when_a_run_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr("rl4lms.training.run.RunLog.close", lambda log: closed.append(True))
    with pytest.raises(RewardError, match="no answer"):
        run(small_recipe(tmp_path), reward=unreachable)
    assert closed == [True]


def unreachable(completions: list[str], **columns: Any) -> list[float]:
    raise ConnectionError("no answer")


def test_a_mask_that_is_never_refreshed_is_told_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_loop(tmp_path, algorithm={"name": "nlpo", "mask_update_every": 3})
    lines = [line for line in capsys.readouterr().err.splitlines() if "mask_update_every" in line]
    assert len(lines) == 1
    assert lines[0].startswith("the mask stays that of the model before training: ")


@pytest.mark.parametrize("lora", [None, {}])
def test_a_start_from_an_adapter_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], lora: Any) -> None:
    (tmp_path / "adapter").mkdir()
    config = {"base_model_name_or_path": "their/base", "peft_type": "LORA", "task_type": "CAUSAL_LM"}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    tell_adapter(Display(), ModelConfig(path=str(tmp_path / "adapter"), lora=lora))
    trained = "all of its weights are trained" if lora is None else "a new adapter on it is trained (model.lora)"
    told = f"model: the adapter {tmp_path / 'adapter'}, merged into its base their/base; {trained}\n"
    assert capsys.readouterr().err == told
    tell_adapter(Display(), ModelConfig(path=str(tmp_path)))
    assert capsys.readouterr().err == ""


def test_a_reserved_column_is_refused_at_the_start_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "reserved.jsonl"
    path.write_text("".join(f'{{"prompt": "{i}", "completions": "x"}}\n' for i in range(9)))
    recipe = small_recipe(tmp_path, data={"train": str(path), "validation": str(path)})
    with pytest.raises(DataError, match=rf"^{path}: the column 'completions' has a name that is reserved"):
        run(recipe)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"data": {"train": "x" * 300 + ".jsonl"}}, OSError, "File name too long"),
        ({"model": {"path": "x" * 300}}, OSError, "File name too long"),
        ({"reward": {"name": "x" * 300 + ".py:f"}}, OSError, "File name too long"),
        ({"data": {"train": "none.jsonl", "validation": "none.jsonl"}}, DataError, "none.jsonl: no such file"),
    ],
    ids=["data", "model", "reward", "no such file"],
)
def test_what_the_system_cannot_open_leaves_no_folder_behind(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        run(small_recipe(tmp_path, output_dir=str(tmp_path / "runs" / "one"), **settings))
    assert not isinstance(caught.value, StorageError)  # nothing was wrong with the run folder
    assert not (tmp_path / "runs").exists()


def test_a_missing_file_of_somebodys_code_is_not_taken_for_one_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rl4lms.training.run.samples_of", lambda *given: (tmp_path / "words.txt").read_text())
    with pytest.raises(FileNotFoundError, match=r"words\.txt"):
        run(small_recipe(tmp_path, output_dir=str(tmp_path / "runs" / "one")))
    assert not (tmp_path / "runs").exists()
