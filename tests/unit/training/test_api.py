"""`rl4lms.train`, `evaluate` and `generate` with objects instead of names."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, EarlyStoppingCallback, TrainerCallback

import rl4lms
from rl4lms.api.calls import sampled
from rl4lms.config import dump_recipe, read_recipe, recipe_from_dict
from rl4lms.errors import CheckpointError, ConfigError, DataError, ModelError
from tests.marks import slow_but
from tests.runs import metric_lines, save_tiny, small_recipe, weights_hash
from tests.tiny import number_tokenizer, tiny_lm

ROWS: list[dict[str, Any]] = [
    {"prompt": f"{i % 20} {i // 20}", "references": ["1 2"], "wanted": i % 5} for i in range(40)
]
FAST: dict[str, Any] = {
    "prompt": {"max_tokens": 8},
    "rollout": {"max_new_tokens": 4},
    "training": {"iterations": 2, "prompts_per_iteration": 8},
    "evaluation": {"every": 1, "prompts": 4},
    "checkpoint": {"every": 1},
    "optimizer": {"learning_rate": 1e-3},
    "progress": False,
}


def wanted(completions: list[str], wanted: list[int], **columns: Any) -> list[float]:
    """Pay for a number of the data."""
    return [float(str(number) in text.split()) for text, number in zip(completions, wanted, strict=True)]


def lengths(completions: list[str], **columns: Any) -> list[float]:
    """Pay for words."""
    return [float(len(text.split())) for text in completions]


def model_and_tokenizer(family: str = "gpt2") -> tuple[Any, Any]:
    tokenizer = number_tokenizer()
    return tiny_lm(family, vocab_size=len(tokenizer)), tokenizer


@pytest.mark.parametrize("family", slow_but(["gpt2", "t5"], ["gpt2"]))
def test_a_model_and_rows_as_objects_make_a_run_that_is_whole_in_its_folder(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = model_and_tokenizer(family)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = rl4lms.train(
        model, tokenizer=tokenizer, data=ROWS, reward=wanted, output_dir=str(tmp_path / "run"), **FAST
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())  # it stays as it is
    recipe = read_recipe(result.folder / "config.resolved.yaml")
    assert Path(recipe.model.path).parent == result.folder / "given"
    # the same from files, to the last bit
    save_tiny(tmp_path / "lm", family).joinpath("x").parent  # the tokenizer's files
    model.save_pretrained(tmp_path / "lm")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    again = rl4lms.train(
        tmp_path / "lm", data=tmp_path / "rows.jsonl", reward=wanted, output_dir=str(tmp_path / "b"), **FAST
    )
    assert weights_hash(again.model) == weights_hash(result.model)
    assert metric_lines(again.folder) == metric_lines(result.folder)
    # longer, by the folder alone
    longer = rl4lms.train(result.folder, resume=True, progress=False, training={"iterations": 3})
    assert [line["step"] for line in longer.history] == [0, 1, 2, 3]
    for source in (result.folder, longer, str(result.folder)):
        assert rl4lms.evaluate(source, split="validation").metrics["reward"] == longer.metrics["eval/reward"]


def as_folder(rows: Any, tmp_path: Path) -> Path:
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


DATA = {
    "rows": lambda rows, tmp_path: rows,
    "tuple": lambda rows, tmp_path: tuple(rows),
    "Dataset": lambda rows, tmp_path: datasets.Dataset.from_list(rows),
    "DataFrame": lambda rows, tmp_path: pandas.DataFrame(rows),
    "save_to_disk": as_folder,
    "block": lambda rows, tmp_path: {"train": datasets.Dataset.from_list(rows), "holdout": 4},
}


@pytest.mark.parametrize("kind", DATA)
def test_data_of_every_kind_are_the_same_rows(tmp_path: Path, kind: str) -> None:
    model, tokenizer = model_and_tokenizer()
    seen: list[dict[str, Any]] = []

    def note(completions: list[str], prompts: list[str], references: Any, **columns: Any) -> list[float]:
        seen.extend(
            {"prompt": prompt, "references": list(texts), "wanted": number}
            for prompt, texts, number in zip(prompts, references, columns["wanted"], strict=True)
        )
        return [0.0] * len(completions)

    settings = FAST | {"evaluation": {"prompts": 64}, "training": {"iterations": 5, "prompts_per_iteration": 8}}
    rl4lms.train(
        model,
        tokenizer=tokenizer,
        data=DATA[kind](ROWS, tmp_path),
        reward=note,
        output_dir=str(tmp_path / "run"),
        **settings,
    )
    assert all(row in ROWS for row in seen)
    assert len({row["prompt"] for row in seen}) == len(ROWS) - 4  # those that are held out for a test


@pytest.mark.parametrize("saved", [False, True])
def test_a_dataset_dict_has_its_own_splits(tmp_path: Path, saved: bool) -> None:
    model, tokenizer = model_and_tokenizer()
    parts: Any = datasets.DatasetDict(
        train=datasets.Dataset.from_list(ROWS[:30]), test=datasets.Dataset.from_list(ROWS[30:34]),
        validation=datasets.Dataset.from_list(ROWS[34:]),
    )  # fmt: skip
    if saved:
        parts.save_to_disk(tmp_path / "saved")
        parts = str(tmp_path / "saved")
    result = rl4lms.train(
        model, tokenizer=tokenizer, data=parts, reward=lengths, output_dir=str(tmp_path / "run"), **FAST
    )
    for split, rows in (("validation", ROWS[34:]), ("test", ROWS[30:34])):
        found = rl4lms.evaluate(result, split=split, evaluation={"prompts": 64}).samples  # type: ignore[arg-type]
        assert [sample["prompt"] for sample in found] == [row["prompt"] for row in rows]


def test_prompts_alone_are_data_and_so_are_values_of_numpy(tmp_path: Path) -> None:
    import numpy as np

    model, tokenizer = model_and_tokenizer()
    given: dict[str, Any] = {"tokenizer": tokenizer, "reward": lengths, **FAST}
    rl4lms.train(model, data=["1 2", "3 4", "5 6"], output_dir=str(tmp_path / "a"), **given)
    rows = [{"prompt": str(i), "weights": np.arange(2) + i, "one": np.float32(0.5)} for i in range(3)]
    rl4lms.train(model, data=rows, output_dir=str(tmp_path / "b"), **given)
    line = (tmp_path / "b" / "given" / "train.jsonl").read_text().splitlines()[1]
    assert json.loads(line) == {"prompt": "1", "weights": [1, 2], "one": 0.5}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, r"data\.train: int is no data"),
        ([1, 2], r"data\.train, row 1: expected a mapping of columns or a prompt, got int"),
        ([{"prompt": "a"}, {"prompt": "b", "when": object()}], r"data\.train, row 2: the column 'when' is object"),
        (datasets.Dataset.from_list(ROWS).to_iterable_dataset(), r"IterableDataset has no length.*\.take\("),
        (datasets.DatasetDict(dev=datasets.Dataset.from_list(ROWS)), r"splits dev; they must be called train"),
        ({"train": [], "validation": ROWS}, "no rows"),
    ],
)
def test_what_is_no_data_is_refused_and_nothing_is_left(tmp_path: Path, data: Any, message: str) -> None:
    model, tokenizer = model_and_tokenizer()
    with pytest.raises(DataError, match=message):
        rl4lms.train(model, tokenizer=tokenizer, data=data, reward=lengths, output_dir=str(tmp_path / "run"), **FAST)
    assert not (tmp_path / "run").exists()


def test_several_rewards_functions_inside_a_sum_and_functions_as_metrics(tmp_path: Path) -> None:
    model, tokenizer = model_and_tokenizer()

    def odd(completions: list[str], **columns: Any) -> dict[str, list[float]]:
        return {"odd": [float(len(text) % 2) for text in completions]}

    given: dict[str, Any] = {
        "tokenizer": tokenizer,
        "data": ROWS,
        **FAST,
        "evaluation": {"prompts": 4, "metrics": [odd]},
    }
    both = rl4lms.train(model, reward=[lengths, wanted], output_dir=str(tmp_path / "a"), **given)
    assert both.metrics["eval/reward"] == pytest.approx(
        both.metrics["eval/reward/lengths"] + both.metrics["eval/reward/wanted"]
    )
    assert 0 <= both.metrics["eval/odd"] <= 1
    parts = [lengths, {"reward": lambda completions, **columns: [2.0] * len(completions), "weight": 3, "key": "two"}]
    weighted = rl4lms.train(model, reward={"name": "sum", "parts": parts}, output_dir=str(tmp_path / "b"), **given)
    assert weighted.metrics["eval/reward"] == pytest.approx(weighted.metrics["eval/reward/lengths"] + 6)
    first, second = (lambda completions, number=number, **columns: [number] * len(completions) for number in (1.0, 2.0))
    lambdas = rl4lms.train(model, reward=[first, second], output_dir=str(tmp_path / "c"), **given)
    assert lambdas.metrics["eval/reward"] == 3


class Instance:
    """A reward that is an object with an option."""

    def __init__(self, pay: float) -> None:
        self.pay = pay

    def __call__(self, completions: list[str], *, times: int = 1, **columns: Any) -> list[float]:
        return [self.pay * times] * len(completions)


def test_objects_and_options_of_functions(tmp_path: Path) -> None:
    model, tokenizer = model_and_tokenizer()
    given: dict[str, Any] = {"tokenizer": tokenizer, "data": ROWS, **FAST}
    for number, (reward, expected) in enumerate(
        [
            (Instance(0.5), 0.5),
            ({"name": Instance(0.5), "times": 3}, 1.5),
            ({"name": Instance, "pay": 2}, 2),
            ([Instance(1.0), Instance(2.0)], 3),
            ([{"reward": Instance(1.0), "weight": -1}, Instance(2.0)], 1),
        ]
    ):
        result = rl4lms.train(model, reward=reward, output_dir=str(tmp_path / str(number)), **given)
        assert result.metrics["eval/reward"] == expected
    with pytest.raises(ConfigError, match="tims"):
        rl4lms.train(model, reward={"name": Instance(1), "tims": 3}, output_dir=str(tmp_path / "x"), **given)


def test_a_lambda_is_told_and_bounds_what_can_be_done_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = model_and_tokenizer()
    given: dict[str, Any] = {"tokenizer": tokenizer, "data": ROWS, "output_dir": str(tmp_path / "run"), **FAST}
    given |= {"progress": True}
    result = rl4lms.train(model, reward=lambda completions, **columns: [1.0] * len(completions), **given)
    assert "<lambda> is known to this script alone" in capsys.readouterr().err
    again = rl4lms.train(
        result.folder, resume=True, training={"iterations": 3}, progress=False,
        reward=lambda completions, **columns: [1.0] * len(completions),
    )  # fmt: skip
    assert again.history[-1]["step"] == 3
    assert "reward" in rl4lms.evaluate(again, split="validation").absent
    with pytest.raises(ConfigError, match="lambda"):
        rl4lms.train(result.folder, resume=True, training={"iterations": 4}, progress=False)


def test_settings_are_one_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a recipe or a model, with blocks, dotted keys or the command line's texts: the same recipe."""
    recipe = small_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    wanted = dump_recipe(
        read_recipe(tmp_path / "recipe.yaml", ["training.iterations=1", "rollout.top_p=0.9", "seed=3"])
    )
    seen = []
    monkeypatch.setattr("rl4lms.api.calls.run", lambda recipe, **_: seen.append(dump_recipe(recipe)))
    ways: list[dict[str, Any]] = [
        {"training": {"iterations": 1}, "rollout": {"top_p": 0.9}, "seed": 3},
        {"training.iterations": 1, "rollout.top_p": 0.9, "seed": 3},
        {"overrides": ["training.iterations=1", "rollout.top_p=0.9"], "seed": 3},
    ]
    blocks = {
        key: value for key, value in recipe.model_dump(mode="json").items() if key != "model" and value is not None
    }
    for way in ways:
        rl4lms.train(tmp_path / "recipe.yaml", **way)
        rl4lms.train(recipe, **way)
        nested = {key: value for key, value in way.items() if key not in blocks}
        merged = {k: {**v, **way[k]} if isinstance(way.get(k), dict) else way.get(k, v) for k, v in blocks.items()}
        rl4lms.train(recipe.model.path, model=recipe.model.model_dump(mode="json"), **nested, **merged)
        rl4lms.train(model=recipe.model.model_dump(mode="json"), **nested, **merged)
        rl4lms.train(model=recipe.model, **nested, **merged)
        rl4lms.train(model=recipe.model.path, **{"model.value": recipe.model.value}, **nested, **merged)
    assert seen == [wanted] * 18
    seen.clear()
    unsaid = recipe_from_dict({"model": "m", "data": "p.jsonl"})
    rl4lms.train(unsaid, **{"model.lora": {"r": 4}})
    assert "learning_rate: 0.0001\n" in seen.pop()
    assert unsaid.optimizer.learning_rate == 1e-5
    block = {"iterations": 1}
    rl4lms.train(recipe, training=block, **{"training.prompts_per_iteration": 2})
    assert block == {"iterations": 1}
    assert "prompts_per_iteration: 2" in seen.pop()
    rl4lms.train("imdb-mini-ppo", **{"algorithm.n_epochs": 7, "evaluation": {"prompts": 5}})
    assert "n_epochs: 7" in seen[0]
    other = str(tmp_path / "other.jsonl")
    rl4lms.train(recipe, data=other)
    assert f"train: {other}\n  validation: null" in seen.pop()
    with pytest.raises(ConfigError, match="trainning"):
        rl4lms.train(recipe, trainning={})
    with pytest.raises(ConfigError, match=r"<arguments>: seed: it is 3, and seed\.x is set as well"):
        rl4lms.train(recipe, **{"seed": 3, "seed.x": 1})
    with pytest.raises(ConfigError, match="name what it is about first"):
        rl4lms.train(data=ROWS)


def test_no_tokenizer_no_model_and_other_weights_on_resume(tmp_path: Path) -> None:
    model, tokenizer = model_and_tokenizer()
    given: dict[str, Any] = {"data": ROWS, "reward": lengths, "output_dir": str(tmp_path / "run"), **FAST}
    with pytest.raises(ModelError, match="nobody knows its tokenizer; pass tokenizer="):
        rl4lms.train(model, **given)
    with pytest.raises(ModelError, match="Linear is no language model"):
        rl4lms.train(torch.nn.Linear(1, 1), tokenizer=tokenizer, **given)
    rl4lms.train(model, tokenizer=tokenizer, **given)
    more = {**given, "training": {"iterations": 3, "prompts_per_iteration": 8}, "resume": True}
    other = model_and_tokenizer("gpt2")[0].apply(_shift)
    with pytest.raises(ConfigError, match="another model than"):
        rl4lms.train(other, tokenizer=tokenizer, **more)
    larger = number_tokenizer()
    larger.add_tokens(["another"])
    with pytest.raises(ConfigError, match="another tokenizer than"):
        rl4lms.train(model, tokenizer=larger, **more)
    with pytest.raises(ConfigError, match="other rows"):
        rl4lms.train(model, tokenizer=tokenizer, **{**more, "data": ROWS[1:]})
    assert rl4lms.train(model, tokenizer=tokenizer, **more).history[-1]["step"] == 3


def _shift(module: torch.nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.data.add_(0.01)


def test_a_model_with_adapters_is_merged_into_a_copy(tmp_path: Path) -> None:
    import peft

    model, tokenizer = model_and_tokenizer()
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["c_attn"], init_lora_weights=False))
    ids = torch.tensor([[1, 2, 3]])
    expected = adapted.eval()(input_ids=ids).logits
    settings = FAST | {"training": {"iterations": 0}}
    result = rl4lms.train(
        adapted, tokenizer=tokenizer, data=ROWS, reward=lengths, output_dir=str(tmp_path / "run"), **settings
    )
    torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(result.model)(input_ids=ids).logits, expected)
    torch.testing.assert_close(adapted(input_ids=ids).logits, expected)


class Record(TrainerCallback):
    """Notes what it is told, and asks for an evaluation and a checkpoint after iteration 1."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.logs: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.events.append(("begin", state.global_step))
        assert args.max_steps == state.max_steps == 4
        assert kwargs["model"].config.model_type == "gpt2"
        assert kwargs["processing_class"].eos_token_id is not None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self.events.append(("step", state.global_step))
        control.should_evaluate = control.should_save = state.global_step == 1
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.logs.append(logs)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        self.events.append(("evaluate", state.global_step))
        assert metrics["eval_reward"] == state.log_history[-1]["eval_reward"]

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.events.append(("save", state.global_step))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.events.append(("end", state.global_step))


def test_callbacks_are_told_and_asked(tmp_path: Path) -> None:
    watcher = Record()
    recipe = small_recipe(
        tmp_path, training={"iterations": 4, "prompts_per_iteration": 8}, checkpoint={"every": 0, "keep_last": 9}
    )
    rl4lms.train(recipe, callbacks=[watcher])
    assert watcher.events == [
        ("begin", 0), ("evaluate", 0), ("step", 1), ("evaluate", 1), ("save", 1), ("step", 2), ("step", 3), ("step", 4),
        ("evaluate", 4), ("save", 4), ("end", 4),
    ]  # fmt: skip
    assert sum("rollout/score" in log for log in watcher.logs) == 4
    with pytest.raises(ConfigError, match="callbacks: lengths has none of the methods"):
        rl4lms.train(recipe, callbacks=[lengths], output_dir=str(tmp_path / "other"))


def test_early_stopping_stops_with_everything_that_a_run_leaves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    model, tokenizer = model_and_tokenizer()
    settings = {**FAST, "training": {"iterations": 50, "prompts_per_iteration": 8}}

    def flat(completions: list[str], **columns: Any) -> list[float]:
        return [1.0] * len(completions)

    given: dict[str, Any] = {"tokenizer": tokenizer, "data": ROWS, "reward": flat, **settings}
    result = rl4lms.train(
        model, callbacks=[EarlyStoppingCallback(early_stopping_patience=3)], output_dir=str(tmp_path / "a"), **given
    )
    # the evaluation before training is the best for ever: three that are no better follow
    assert [line["step"] for line in result.history] == [0, 1, 2, 3]
    told = json.loads((result.folder / "result.json").read_text())
    assert (told["iterations"], told["stopped_by"]) == (3, "EarlyStoppingCallback")
    assert result.model.is_dir()

    class Crash(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 2:
                raise RuntimeError("power cut")

    # what a callback counts survives a crash
    patience = EarlyStoppingCallback(early_stopping_patience=3)
    with pytest.raises(RuntimeError, match="power cut"):
        rl4lms.train(model, callbacks=[patience, Crash()], output_dir=str(tmp_path / "b"), **given)

    class Calm(TrainerCallback):
        pass

    Calm.__name__ = "Crash"
    again = rl4lms.train(
        model, callbacks=[EarlyStoppingCallback(early_stopping_patience=3), Calm()], output_dir=str(tmp_path / "b"),
        resume=True, **given,
    )  # fmt: skip
    assert metric_lines(again.folder) == metric_lines(result.folder)
    assert weights_hash(again.model) == weights_hash(result.model)


def test_a_result_can_be_looked_at(tmp_path: Path) -> None:
    result = rl4lms.train(small_recipe(tmp_path), progress=False)
    assert [line["step"] for line in result.history] == [0, 1, 2, 3]
    assert list(result.history.to_pandas()["rollout/score"].dropna().index) == [1, 2, 3]
    assert {"prompt", "completion", "reward"} <= result.samples[0].keys()
    figure = result.plot(path=tmp_path / "curves.png")
    assert [axes.get_title(loc="left") for axes in figure.axes][:2] == ["rollout/score", "eval/reward"]
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert [axes.get_title(loc="left") for axes in result.plot("train/loss").axes] == ["train/loss"]
    with pytest.raises(ConfigError, match="'rollout/scor' was not logged; did you mean 'rollout/score'"):
        result.plot("rollout/scor")
    assert "3 iterations: eval/reward" in repr(result)
    assert "<td>eval/reward</td>" in result._repr_html_()
    assert rl4lms.load_run(result.folder).metrics == pytest.approx(result.metrics, nan_ok=True)
    with pytest.raises(CheckpointError, match="name the folder of a run"):
        rl4lms.load_run(tmp_path)


def test_generate_takes_runs_models_and_objects(tmp_path: Path) -> None:
    model, tokenizer = model_and_tokenizer()
    texts = rl4lms.generate(model, ["1 2", "3"], tokenizer=tokenizer, max_new_tokens=5, temperature=0)
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    assert rl4lms.generate(tmp_path / "lm", ["1 2", "3"], max_new_tokens=5, temperature=0) == texts
    inputs = tokenizer("1 2", return_tensors="pt")
    own = model.generate(**inputs, max_new_tokens=5, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert texts[0] == tokenizer.decode(own, skip_special_tokens=True)
    many = rl4lms.generate(model, "1 2", tokenizer=tokenizer, n=3, seed=1)
    assert len(many) == 1
    assert len(set(many[0])) > 1
    assert many == rl4lms.generate(model, "1 2", tokenizer=tokenizer, n=3, seed=1)
    with pytest.raises(ConfigError, match="temprature"):
        rl4lms.generate(model, "1", tokenizer=tokenizer, temprature=1)
    with pytest.raises(DataError, match="no prompts"):
        rl4lms.generate(model, [], tokenizer=tokenizer)


def test_generate_decodes_as_the_evaluations_of_a_run_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beams = {"num_beams": 3, "length_penalty": 0.5, "max_new_tokens": 5}
    quick = {
        "training": {"iterations": 1, "prompts_per_iteration": 4},
        "evaluation": {"prompts": 2, "generation": beams},
    }
    run = rl4lms.train(small_recipe(tmp_path, device="cpu", **quick), progress=False).folder
    devices = []

    def device_of(name: str) -> torch.device:
        devices.append(name)
        return torch.device("cpu")

    monkeypatch.setattr("rl4lms.evaluation.sample.resolve_device", device_of)
    (text,) = rl4lms.generate(run, ["1 2"])
    assert devices == ["cpu"]  # the recipe's, and not `auto`
    model, tokenizer = AutoModelForCausalLM.from_pretrained(run / "model"), AutoTokenizer.from_pretrained(run / "model")
    inputs = tokenizer("1 2", return_tensors="pt")
    way = {"num_beams": 3, "length_penalty": 0.5, "max_new_tokens": 5, "do_sample": False}
    own = model.generate(**inputs, **way)[0, inputs["input_ids"].shape[1] :]
    assert text == tokenizer.decode(own, skip_special_tokens=True)
    assert len(set(rl4lms.generate(run, "1 2", n=6)[0])) > 1
    for options, why in (({"number": 2}, "2 completions of each"), ({"decoding": {"top_p": 0.9}}, "top_p was given")):
        _, note = sampled(run, ["1 2"], **{"decoding": {}, **options})
        assert (
            note
            == f"sampled, since {why}{' prompt were asked for' * ('number' in options)}; this run's evaluations search with 3 beams"
        )


def test_a_task_brings_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("rl4lms.api.calls.run", lambda recipe, **more: seen.append(recipe.model.path))
    rl4lms.train(task="imdb", output_dir=str(tmp_path))
    rl4lms.train(task={"name": "imdb"}, model="mine", output_dir=str(tmp_path))
    assert seen == ["asset:base", "mine"]
    with pytest.raises(ConfigError, match="model: is required"):
        rl4lms.train(task="examples/own_task.py:Counting")


def test_evaluate_takes_models_data_and_functions(tmp_path: Path) -> None:
    model, tokenizer = model_and_tokenizer()
    found = rl4lms.evaluate(
        model, tokenizer=tokenizer, data=ROWS[:6], reward=lengths, evaluation={"metrics": ["exact_match"]},
        rollout={"max_new_tokens": 4}, prompt={"max_tokens": 8},
    )  # fmt: skip
    assert found.prompts == 6
    mean = sum(len(sample["completion"].split()) for sample in found.samples) / 6
    assert found.metrics["reward"] == pytest.approx(mean)
    assert "exact_match" in found.metrics
    assert "<td>reward</td>" in found._repr_html_()
    with pytest.raises(ConfigError, match="says what a training does"):
        rl4lms.evaluate(model, tokenizer=tokenizer, data=ROWS, evaluation={"every": 3})
    result = rl4lms.train(small_recipe(tmp_path), progress=False)
    with pytest.raises(ConfigError, match="has prompts of its own"):
        rl4lms.evaluate(result, data=ROWS)
    masked = rl4lms.evaluate(result, split="validation", evaluation={"metrics": [lambda completions: {"one": 1.0}]})
    assert masked.metrics["one"] == 1


def test_no_bars_and_notices_of_libraries(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging as notices

    bars, verbosity = notices.is_progress_bar_enabled(), notices.get_verbosity()
    notices.enable_progress_bar()
    notices.set_verbosity_warning()
    try:
        recipe = small_recipe(tmp_path, training={"iterations": 2, "prompts_per_iteration": 8, "on_health": "off"})
        capfd.readouterr()
        result = rl4lms.train(recipe)
        rl4lms.evaluate(result, split="validation")
        rl4lms.generate(result, "1 2")
        captured = capfd.readouterr()
        assert (captured.out, captured.err) == ("", "")
        assert notices.is_progress_bar_enabled()
    finally:
        notices.set_verbosity(verbosity)
        if not bars:
            notices.disable_progress_bar()
