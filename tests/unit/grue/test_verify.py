from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.board import boards
from rl4lms.grue.rescore import Prediction, read_predictions
from rl4lms.grue.result import RESULTS_FILE, Value, read_results, write_results
from rl4lms.grue.verify import Checker, _differences, find_cells, tier_of, verify
from rl4lms.types import MetricResult
from tests.cli.test_cli import call
from tests.unit.grue.made_up import change, predictions


def test_predictions_are_scored_by_the_references_of_the_task(scorer):
    rows = predictions()
    scored = scorer(rows)
    assert scored.results["solved"].mean == pytest.approx((len(rows) - 1) / len(rows))
    assert scored.samples[0]["solved"] == 0.0
    assert "measures the model" in scored.absent["reference_perplexity"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[:-1], "1 of 499 prompts of the test split have no prediction, such as 'test-49"),
        (lambda rows: [*rows, rows[0]], "prediction 2 for the prompt 'test-0', which has 1"),
        (lambda rows: [Prediction("train-0", "", "x", None, "row 1"), *rows], "row 1: no prompt 'train-0'"),
    ],
)
def test_predictions_that_are_refused(scorer, edit, message):
    with pytest.raises(DataError, match=message):
        scorer(edit(predictions()))


def test_a_file_of_predictions_is_by_id_or_by_prompt(tmp_path, scorer):
    rows = predictions(3)
    path = tmp_path / "predictions.jsonl"
    for keys in ({"id"}, {"prompt"}):
        lines = [{"id": row.id, "prompt": row.prompt, "completion": row.completion} for row in rows]
        path.write_text("".join(json.dumps({k: r[k] for k in (*keys, "completion")}) + "\n" for r in lines))
        read = read_predictions(str(path), list(scorer.samples.values()))
        assert [(row.id, row.completion) for row in read] == [(row.id, row.completion) for row in rows]
    path.write_text('{"completion": "x"}\n')
    with pytest.raises(DataError, match="needs the column 'id' or 'prompt'"):
        read_predictions(str(path), list(scorer.samples.values()))
    path.write_text('{"prompt": "<b>no</b>", "completion": "=1+1"}\n')
    with pytest.raises(DataError, match="no prompt of the split is '<b>no</b>'"):
        read_predictions(str(path), list(scorer.samples.values()))
    path.write_text('{"id": "test-0", "prompt": "another", "completion": "x"}\n')
    with pytest.raises(DataError, match="not 'another'"):
        read_predictions(str(path), list(scorer.samples.values()))


def test_a_cell_that_is_right_is_re_scored_until_it_is_altered(place):
    assert tier_of(place) == "reported"
    assert verify(place, {}) == []  # nothing is known of other cells
    assert tier_of(place) == "re-scored"
    (table,) = boards(place.parents[3], "own")
    assert table.tiers == {"zero_shot": "re-scored"}
    change(place / "own.parquet", lambda rows: rows[1].update(completion="a dog ."))
    assert tier_of(place) == "reported"


def altered(name: str, edit: Any, message: str) -> Any:
    return pytest.param(name, edit, message, id=message)


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        altered("own.parquet", lambda c: c[1].update(completion="a dog ."), "from the predictions"),
        altered("own.parquet", lambda c: c[1].update(solved=0.0), "is 0.0 in own.parquet"),
        altered("own.parquet", lambda c: c[1].update(document="another"), "other documents"),
        altered("own.parquet", lambda c: c.insert(0, c.pop()), "the prompts are others than the 6"),
        altered("own.parquet", lambda c: c.pop(), "predictions for 5 prompts, 6 in the result, 6 asked for"),
        altered("own.parquet", lambda c: c[1].update(id="test-499"), "no prompt 'test-499'"),
        altered("shared.parquet", lambda c: c[1].update(id=c[0]["id"]), "prediction 2 for the prompt"),
        altered("results.json", lambda c: c[0]["metrics"]["solved"].update(mean=1.0), "solved is 1.0 in the result"),
        altered("results.json", lambda c: c[0]["metrics"]["solved"].update(stderr=0.0), "the error of solved is 0.0"),
        altered("results.json", lambda c: c[0]["metrics"]["solved"].update(n=5), "n of solved is 5 in the result"),
        altered("results.json", lambda c: c[0]["metrics"]["reward"].update(mean=9.0), "reward is 9.0 in the result"),
        altered("results.json", lambda c: c[0]["metrics"].pop("solved"), "solved is missing in the result"),
        altered("results.json", lambda c: c[0].update(seed=3), "another task, edition, system, seed or recipe"),
        altered("results.json", lambda c: c[0].update(task_version=9), "of version 9 of the task, which is 1 here"),
        altered("results.json", lambda c: c[0].update(scores="shared.parquet"), "own: the scores are in own.parquet"),
        altered("results.json", lambda c: c.pop(), "needs one result of each decoding"),
        altered("cell.json", lambda c: c["cell"]["blocks"]["rollout"].update(top_p=0.5), "seed or recipe than cell.json"),
    ],
)  # fmt: skip
def test_what_is_altered_is_found(place, checkers, name, edit, message):
    change(place / name, edit)
    found = verify(place, checkers)
    assert any(message in fault for fault in found), found
    assert tier_of(place) == "reported"


@pytest.mark.parametrize(
    ("made_on", "by_model", "moved", "is_right"),
    [
        ("elsewhere", True, 1e-5, True),
        (None, True, 1e-5, True),  # results before schema 2 do not say
        ("elsewhere", True, 1e-3, False),
        ("here", True, 1e-5, False),
        ("elsewhere", False, 1e-5, False),  # counting words is the same everywhere
    ],
)
def test_a_model_elsewhere_rounds_otherwise(place, checkers, monkeypatch, made_on, by_model, moved, is_right):
    monkeypatch.setattr("rl4lms.grue.verify.processor", lambda: "here")
    verify(place, checkers)
    signature = f"meteor|{'model:m' if by_model else 'stems:yes'}|version:1"
    rows = [row.model_copy(update={"processor": made_on}) for row in read_results(place / RESULTS_FILE)]
    for row in rows:
        row.metrics["meteor_exact_stem"] = row.metrics["meteor_exact_stem"].model_copy(update={"signature": signature})
    write_results(place / RESULTS_FILE, rows)

    class Elsewhere:
        """The scorer of a machine on which METEOR comes out a little higher."""

        def __init__(self, scorer):
            self.samples, self.drawn, self.scorer = scorer.samples, scorer.drawn, scorer

        def __call__(self, *given, **named):
            found = self.scorer(*given, **named)
            one = found.results["meteor_exact_stem"]
            numbers = {"mean": one.mean * (1 + moved), "values": tuple(v * (1 + moved) for v in one.values)}
            changed = replace(one, signature=signature, **numbers)
            return replace(found, results={**found.results, "meteor_exact_stem": changed})

    here = {kind: Checker(Elsewhere(one.scorer), one.documents) for kind, one in checkers.items()}
    found = verify(place, here)
    assert (found == []) is is_right, found
    assert is_right or all("meteor_exact_stem" in fault for fault in found)


def test_damaged_files_are_errors(place):
    change(place / "results.json", lambda content: content[0].update(schema_version=7))
    with pytest.raises(DataError, match="schema version 7"):
        verify(place, {})
    (place / "cell.json").write_text("{")
    with pytest.raises(DataError, match=r"cell\.json: cannot be read"):
        verify(place, {})
    with pytest.raises(ConfigError, match="no finished cell 'commongen/ppo/seed-0'"):
        find_cells(place.parents[3], ["commongen/ppo/seed-0"])


@pytest.mark.slow
def test_the_commands(place, tmp_path):
    grid = place.parents[3]
    done = call("grue", "verify", grid)
    assert done.exit_code == 0
    assert "1 of 1 cells are re-scored" in done.output
    change(place / "results.json", lambda content: content[0]["metrics"]["solved"].update(mean=1.0))
    done = call("grue", "verify", grid, "commongen/zero_shot/seed-0")
    assert done.exit_code == 1
    assert "differs: commongen/zero_shot/seed-0, own: solved is 1.0" in done.output
    path = tmp_path / "predictions.jsonl"
    rows = [{"id": row.id, "completion": row.completion} for row in predictions()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ["evaluation.metrics=[meteor_exact_stem, commongen_grammar]", "--output", tmp_path / "scored.jsonl"]
    done = call("grue", "score", path, "--task", "commongen", *settings)
    assert done.exit_code == 0, done.output
    assert "solved" in done.output
    assert json.loads((tmp_path / "scored.jsonl").read_text().splitlines()[1])["solved"] == 1.0
    assert call("grue", "score", path, "--task", "commongen", "--split", "validation", *settings).exit_code == 2


QUICK = (
    "--tasks=commongen",
    "--systems=supervised+ppo",
    "--seeds=1",
    "--quiet",
    "evaluation.prompts=8",
    "supervised:supervised.max_steps=3",
    "training.iterations=2",
    "training.prompts_per_iteration=8",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cell_that_is_trained_again_has_the_same_texts(tmp_path):
    assert call("grue", "run", "--output", tmp_path, *QUICK).exit_code == 0
    key = "commongen/supervised+ppo/seed-0"
    done = call("grue", "reproduce", tmp_path, key, "--quiet")
    assert done.exit_code == 0, done.output
    place = tmp_path / "cells" / key
    assert tier_of(place) == "re-run"
    assert verify(place, {}) == []
    assert tier_of(place) == "re-run"  # the higher one stays
    change(place / "own.parquet", lambda rows: rows[1].update(completion="a dog ."))
    done = call("grue", "reproduce", tmp_path, key, "--quiet")
    assert done.exit_code == 1
    assert f"{key}, own: 1 of 8 texts are others" in done.output


def test_a_model_may_lie_in_another_folder_and_must_have_the_same_name():
    def differences(there, here):
        reported = Value(
            mean=0.5, stderr=None, n=4, higher_is_better=True, signature=f"classifier|model:{there}|label:1"
        )
        found = MetricResult("m", 0.5, None, 4, None, True, f"classifier|model:{here}|label:1")
        return _differences("m", reported, found)

    assert differences("/tmp/a/judge-0c0a51", "/home/b/cache/judge-0c0a51") == []
    assert differences("judge-0c0a51", "/home/b/judge-0c0a51") == []
    assert "signature of m is" in differences("/tmp/a/judge-0c0a51", "/tmp/a/judge-7b4117")[0]
