from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from jsonschema import Draft7Validator, validators

from rl4lms.grue.board import boards
from tests.cli.test_cli import call

DATA = os.environ.get("RL4LMS_TEST_DATA")
needs_schemas = pytest.mark.skipif(DATA is None, reason="RL4LMS_TEST_DATA names the folder with the schemas")


@pytest.fixture
def exported(tmp_path, add_cell):
    add_cell(0)
    done = call("grue", "export", tmp_path / "grid", tmp_path / "eee", "--format", "eee", "--organization", "lab")
    assert done.exit_code == 0, done.output
    assert "2 records" in done.output
    return tmp_path / "eee"


@needs_schemas
def test_records_are_valid(exported):
    schemas = Path(str(DATA)) / "eee_schema"
    of_records, of_samples = (
        json.loads((schemas / name).read_text()) for name in ("eval.schema.json", "instance_level_eval.schema.json")
    )
    checks = [validators.validator_for(schema, Draft7Validator)(schema) for schema in (of_records, of_samples)]
    records = list(exported.rglob("*.json"))
    assert len(records) == 2
    for path in records:
        record = json.loads(path.read_text())
        checks[0].validate(record)
        detailed = record["detailed_evaluation_results"]
        samples = (exported / detailed["file_path"]).read_bytes()
        assert hashlib.sha256(samples).hexdigest() == detailed["checksum"]
        rows = [json.loads(line) for line in samples.splitlines()]
        assert len(rows) == detailed["total_rows"] > 0
        for row in rows:
            checks[1].validate(row)
        by_metric = {found["evaluation_result_id"]: found for found in record["evaluation_results"]}
        solved = next(found for found in by_metric.values() if found["metric_config"]["metric_id"] == "solved")
        own = [row for row in rows if row["evaluation_result_id"] == solved["evaluation_result_id"]]
        assert {row["evaluation_result_id"] for row in rows} <= by_metric.keys()
        assert sum(row["evaluation"]["score"] for row in own) / 6 == pytest.approx(solved["score_details"]["score"])
        uncertainty = solved["score_details"]["uncertainty"]
        assert uncertainty["num_samples"] == 6
        interval = uncertainty["confidence_interval"]
        assert interval["lower"] < solved["score_details"]["score"] < interval["upper"]
        assert solved["generation_config"]["generation_args"] == {"temperature": 1.0}


def test_the_hub_has_a_value_for_each_metric(tmp_path, add_cell):
    for seed in range(2):
        add_cell(seed)
    grid, path = tmp_path / "grid", tmp_path / "grue.yaml"
    command = ["grue", "export", grid, path, "--format", "huggingface", "--system", "zero_shot"]
    done = call(*command, "--dataset", "commongen=allenai/common_gen")
    assert done.exit_code == 0, done.output
    entries = {entry.task_id: entry for entry in parse_eval_result_entries(yaml.safe_load(path.read_text()))}
    (table,) = boards(grid, "own")
    assert entries.keys() == table.rows["zero_shot"][1].keys()
    number = table.rows["zero_shot"][1]["solved"]
    assert entries["solved"].value == pytest.approx(number.value, abs=1e-6)
    assert entries["solved"].dataset_id == "allenai/common_gen"
    assert f"2 seeds ± {number.stderr:.2g}" in entries["solved"].notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "eee"], "needs --organization"),
        (["--format", "eee", "--organization", "../x"], "needs --organization, a name"),
        (["--format", "eee", "--organization", "lab", "--system", "x"], "--system is not for --format eee"),
        (["--format", "huggingface", "--system", "zero_shot"], "needs --system and --dataset"),
        (["--format", "huggingface", "--organization", "lab"], "--organization is not for --format huggingface"),
        (["--format", "huggingface", "--system", "x", "--dataset", "commongen=a/b"], "no system 'x'"),
        (
            ["--format", "huggingface", "--system", "zero_shot", "--dataset", "imdb=a/b"],
            "no cell is of the task 'imdb'",
        ),
        (["--format", "eee", "--organization", "lab", "--data", "commongen"], "write TASK=VALUE"),
    ],
)
def test_options_that_do_not_fit(tmp_path, add_cell, options, message):
    add_cell(0)
    done = call("grue", "export", tmp_path / "grid", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()
