"""Tasks for lm-evaluation-harness as it calls them, and results in its layout; tests/doors runs the harness itself."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from rl4lms.config import recipe_from_dict
from rl4lms.errors import ConfigError, DataError, Rl4lmsError
from rl4lms.grue.rescore import Prediction, Scorer
from rl4lms.grue.suite import TASKS
from rl4lms.grue.verify import find_cells, verify
from rl4lms.integrations.lm_eval import write_tasks
from rl4lms.integrations.lm_eval_results import add_results
from tests.cli.test_cli import call
from tests.marks import slow_but


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!function", lambda loader, node: f"function {loader.construct_scalar(node)}")


def recipe(name: str, *settings: str) -> Any:
    return recipe_from_dict(
        {"task": {"name": name, "edition": "mini"}}, "<arguments>", ["evaluation.prompts=8", *settings]
    )


def module(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"utils_{folder.name}", folder / "utils.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def texts(rows: list[dict[str, Any]]) -> list[str]:
    """Half of the words of references in a wrong order, one empty, one twice."""
    draw = random.Random(0)
    found = []
    for row in rows:
        words = row["references"][0].split()
        draw.shuffle(words)
        found.append(" ".join([*row["references"][0].split()[:3], *words[:3]]))
    return ["", found[2], *found[2:]]


def harness(folder: Path, output: Path, said: Callable[[list[dict[str, Any]]], list[str]] = texts) -> Path:
    """What the harness does with an exported task, written as it writes it."""
    name, utils = folder.name, module(folder)
    config = yaml.load((folder / f"{name}.yaml").read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a safe one
    rows = list(utils.dataset(version=1)["test"])
    values = [utils.process_results(row, [text]) for row, text in zip(rows, said(rows), strict=True)]
    results: dict[str, Any] = {"alias": name}
    for metric in config["metric_list"]:
        key = metric["metric"]
        items = [value[key] for value in values if key in value]
        results[f"{key},none"] = statistics.fmean(items) if metric["aggregation"] == "mean" else utils.of_the_set(items)
    output.mkdir(exist_ok=True)
    path = output / "results_2026-01-01T00-00-00.0.json"
    content = {"results": {name: results}, "configs": {name: config}, "model_name": "lm", "lm_eval_version": "0.4.13"}
    path.write_text(json.dumps(content), encoding="utf-8")
    samples = [
        {"doc_id": i, "doc": row, "resps": [[text]], "filtered_resps": [text]}
        for i, (row, text) in enumerate(zip(rows, said(rows), strict=True))
    ]
    lines = "".join(json.dumps(sample) + "\n" for sample in samples)
    (output / f"samples_{name}_2026-01-01T00-00-00.0.jsonl").write_text(lines, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "tasks"
    write_tasks(folder, [recipe("commongen")])
    return folder / "rl4lms_commongen_mini"


@pytest.mark.parametrize("name", slow_but([*TASKS, "wmt16"], quick=("commongen",)))
def test_one_text_at_a_time_gives_the_numbers_of_all_at_once(tmp_path: Path, name: str) -> None:
    made = recipe(name)
    write_tasks(tmp_path / "tasks", [made], join=" ")
    (folder,) = (tmp_path / "tasks").iterdir()
    path = harness(folder, tmp_path / "out")
    said = json.loads(path.read_text(encoding="utf-8"))["results"][folder.name]
    scorer = Scorer.of(made, "test")
    asked = scorer.drawn(made)
    rows = [{"references": scorer.samples[one].references} for one in asked]
    predictions = [
        Prediction(
            one, "", text, f"{scorer.samples[one].prompt} {text}".rstrip() if text else scorer.samples[one].prompt, one
        )
        for one, text in zip(asked, texts(rows), strict=True)
    ]
    results = scorer(predictions, wanted=asked).results
    assert len(results) > 5
    for key, result in results.items():
        # imdb's classifier rounds in float32, and otherwise for each batch
        assert said[f"{key},none"] == pytest.approx(result.mean, rel=1e-6 if name == "imdb" else 1e-12), key
    add_results(path, tmp_path / "grid", system="mine")
    (cell,) = find_cells(tmp_path / "grid")
    assert verify(cell, {}) == []


def test_decoding_is_that_of_the_task_or_of_settings(tmp_path: Path) -> None:
    beams = "evaluation.generation={num_beams: 3, length_penalty: 0.5, min_new_tokens: 2, max_new_tokens: 9}"
    for number, (settings, wanted) in enumerate(
        [
            ([], {"max_gen_toks": 20, "num_beams": 1, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}),
            (["evaluation.generation={temperature: 0}"], {"max_gen_toks": 20, "num_beams": 1, "do_sample": False}),
            (
                [beams],
                {"max_gen_toks": 9, "num_beams": 3, "min_new_tokens": 2, "do_sample": False, "length_penalty": 0.5},
            ),
        ]
    ):
        write_tasks(tmp_path / str(number), [recipe("commongen", *settings)])
        (path,) = (tmp_path / str(number)).rglob("*.yaml")
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506
        assert content["generation_kwargs"] == {"until": [], **wanted}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["evaluation.generation={stop: ['.']}"], "evaluation.generation.stop: lm-eval cuts a stop text off"),
        (["evaluation.generation={completions_per_prompt: 2}"], "completions_per_prompt: lm-eval scores one"),
    ],
)
def test_what_the_harness_cannot_do_is_refused(tmp_path: Path, settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_tasks(tmp_path / "tasks", [recipe("commongen", *settings)])
    assert not (tmp_path / "tasks").exists()


def test_a_task_is_exported_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="named twice"):
        write_tasks(tmp_path / "tasks", [recipe("commongen"), recipe("commongen")])


def altered(name: str, edit: Callable[[Path], object], message: str) -> Any:
    return pytest.param(edit, message, id=name)


def results(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        edit(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return change


def samples(edit: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        (file,) = path.parent.glob("samples_*.jsonl")
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        edit(rows)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    return change


T = "rl4lms_commongen_mini"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        altered("a number", results(lambda c: c["results"][T].update({"cider,none": 9.0})), "cider is 9.0 in the res"),
        altered("no number", results(lambda c: c["results"][T].pop("bleu-4,none")), "bleu-4 is not there in the res"),
        altered(
            "not a number", results(lambda c: c["results"][T].update({"bleu-4,none": "9"})), "bleu-4 is 9 in the r"
        ),
        altered("a text", samples(lambda r: r[3].update(filtered_resps=["a dog ."])), "from the texts"),
        altered("a prompt", samples(lambda r: r[3]["doc"].update(prompt="a dog")), "not 'a dog'"),
        altered("an id", samples(lambda r: r[3]["doc"].update(id="test-9999")), "no prompt 'test-9999'"),
        altered("no prompt", samples(lambda r: r.pop()), "1 of 8 prompts of the test split have no prediction"),
        altered("twice", samples(lambda r: r.append(r[0])), "prediction 2 for the prompt"),
        altered("two texts", samples(lambda r: r[3].update(filtered_resps=["a", "b"])), ":4: not a sample of lm-eval"),
        altered(
            "no text", samples(lambda r: r[3].update(filtered_resps=[None])), ":4: prompt and completion are texts"
        ),
        altered("nothing kept", lambda path: next(path.parent.glob("samples_*")).unlink(), "with --log_samples"),
        altered("no JSON", lambda path: path.write_text("{"), "not JSON"),
        altered("no UTF-8", lambda path: path.write_bytes(b"\xff\xfe"), "not UTF-8"),
        altered("no results", lambda path: path.write_text("[]"), "no results of lm-eval"),
        altered("others", results(lambda c: c["configs"][T].pop("metadata")), f"exported, only {T}"),
        altered("no task", results(lambda c: c["configs"][T]["metadata"]["rl4lms"].pop("task")), "were altered"),
        altered(
            "code",
            results(lambda c: c["configs"][T]["metadata"]["rl4lms"]["task"].update(name="evil.py:Task")),
            "evil.py:Task; read that, and add --run-code",
        ),
    ],
)
def test_results_that_were_altered_are_refused_and_nothing_is_added(
    exported: Path, tmp_path: Path, edit: Callable[[Path], object], message: str
) -> None:
    path = harness(exported, tmp_path / "out")
    edit(path)
    with pytest.raises(Rl4lmsError, match=message):
        add_results(path, tmp_path / "grid", system="mine")
    assert not list((tmp_path / "grid").rglob("*.json"))


def test_the_command_adds_a_cell_once_with_its_seed_and_maker(exported: Path, tmp_path: Path) -> None:
    path = harness(exported, tmp_path / "out")
    words = ["grue", "from-lm-eval", path, "--into", tmp_path / "grid", "--system", "mine", "--seed", "3"]
    assert call(*words).exit_code == 0
    (cell,) = find_cells(tmp_path / "grid")
    assert cell.parts[-3:] == ("commongen", "mine", "seed-3")
    spec = json.loads((cell / "cell.json").read_text(encoding="utf-8"))
    assert "lm (lm-eval 0.4.13)" in json.dumps(spec)
    again = call(*words)
    assert again.exit_code == 2
    assert "this cell is there already" in again.stderr
    named = call(*words[:-1], "4", "--model", "somebody")
    assert named.exit_code == 0
    assert any("somebody" in (one / "cell.json").read_text(encoding="utf-8") for one in find_cells(tmp_path / "grid"))
    wrong = call(*words[:-1], "5", "--data", "imdb=x")
    assert wrong.exit_code == 2
    assert "no cell is of the task 'imdb'" in wrong.stderr


def test_texts_of_metrics_that_read_both_need_a_join(tmp_path: Path) -> None:
    """Where completions bring no white space of their own; and what was joined stays joined in the cell."""
    (tmp_path / "whole.py").write_text(
        "def length(texts, completions):\n    return {'whole': [float(len(text)) for text in texts]}\n"
    )
    reading = f"evaluation.metrics=['{tmp_path}/whole.py:length']"
    made = recipe("commongen", reading)
    write_tasks(tmp_path / "tasks", [made], join="--")
    (folder,) = (tmp_path / "tasks").iterdir()
    path = harness(folder, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"whole\.py:length; read that"):
        add_results(path, tmp_path / "grid", system="mine")
    added = add_results(path, tmp_path / "grid", system="mine", run_code=True)
    scorer = Scorer.of(made, "test")
    prompts = [scorer.samples[one].prompt for one in scorer.drawn(made)]
    said = texts([{"references": scorer.samples[one].references} for one in scorer.drawn(made)])
    lengths = [len(p) + (2 + len(t) if t else 0) for p, t in zip(prompts, said, strict=True)]
    assert added["commongen/mine/seed-0"]["whole"] == pytest.approx(statistics.fmean(lengths))
    write_tasks(tmp_path / "none", [recipe("commongen", reading)])
    (other,) = (tmp_path / "none").iterdir()
    with pytest.raises(DataError, match="texts"):
        harness(other, tmp_path / "other")


def test_a_value_of_the_set_that_is_not_there_is_no_number_and_no_fault(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text(
        "def some(completions):\n"
        "    return {'n': [1.0 for _ in completions]} | ({'some': 1.0} if any(completions) else {})\n"
    )
    write_tasks(tmp_path / "tasks", [recipe("commongen", f"evaluation.metrics=['{tmp_path}/some.py:some']")])
    (folder,) = (tmp_path / "tasks").iterdir()
    path = harness(folder, tmp_path / "out", said=lambda rows: [""] * len(rows))
    assert math.isnan(json.loads(path.read_text(encoding="utf-8"))["results"][folder.name]["some,none"])
    added = add_results(path, tmp_path / "grid", system="mine", run_code=True)
    assert added == {"commongen/mine/seed-0": {"n": 1.0}}
