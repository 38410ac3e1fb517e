"""Evaluation: decoding, keys, common random numbers, beam search."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from rl4lms.cli.common import results_table
from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.errors import MissingPartError
from rl4lms.evaluation.evaluator import Evaluator
from rl4lms.models.build import copy_policy_weights
from rl4lms.plugins import registry
from rl4lms.training.evaluate import evaluate as evaluate_run
from rl4lms.training.run import run
from tests.runs import metric_lines, run_steps, small_loop, small_recipe


def evaluator(tmp_path: Path, family: str = "gpt2", **settings: object) -> tuple[Evaluator, object]:
    loop = small_loop(tmp_path, family, algorithm={"name": "nlpo", "mask_top_p": 0.5})
    decoding = EvalGenerationConfig(**{"max_new_tokens": 6, **settings})
    return Evaluator(loop.engine, loop.models.ref_policy, loop.samples[:12], decoding, [], loop.reward), loop


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5-untied", "bart"])
def test_beam_search_is_hugging_faces_own(tmp_path: Path, family: str) -> None:
    evaluate, loop = evaluator(tmp_path, family, num_beams=3, min_new_tokens=2)
    policy = loop.models.policy
    records = evaluate().samples
    policy.lm.generation_config.forced_eos_token_id = None  # BART's own, which no setting of ours names
    for record, sample in zip(records, loop.samples[:12], strict=True):
        ids = torch.tensor([loop.engine.encoder([sample])[0]])
        options = {"num_beams": 3, "max_new_tokens": 6, "min_new_tokens": 2, "do_sample": False, "length_penalty": 1.0}
        prefix = list(policy.tokens.decoder_prefix)
        if prefix:
            options["decoder_input_ids"] = torch.tensor([prefix])
        out = policy.lm.generate(ids, **options)[0, len(prefix) or ids.shape[1] :]
        assert record["completion"] == loop.models.tokenizer.decode(out, skip_special_tokens=True)


def test_two_evaluations_draw_the_same_numbers_and_differ_only_by_the_policy(tmp_path: Path) -> None:
    evaluate, loop = evaluator(tmp_path)
    first, second = evaluate(), evaluate()
    assert [s["completion"] for s in first.samples] == [s["completion"] for s in second.samples]
    assert first.results["kl_per_token"].mean == pytest.approx(0, abs=1e-6)
    run_steps(loop, 2)
    assert evaluate().results["kl_k3_per_token"].mean > 0


@pytest.mark.parametrize("truncation", [{}, {"top_p": 0.3}, {"top_k": 5}, {"top_p": 0.95, "top_k": 9}])
def test_greedy_decoding(tmp_path: Path, truncation: dict[str, Any]) -> None:
    """The most probable token is in every truncated support."""
    evaluate, loop = evaluator(tmp_path, temperature=0.0, **truncation)
    sample = loop.samples[0]
    ids = torch.tensor([loop.engine.encoder([sample])[0]])
    out = loop.models.policy.lm.generate(ids, do_sample=False, max_new_tokens=6)[0, ids.shape[1] :]
    assert evaluate().samples[0]["completion"] == loop.models.tokenizer.decode(out, skip_special_tokens=True)


def test_inside_the_mask_the_support_is_smaller_and_kl_of_what_was_sampled_larger(tmp_path: Path) -> None:
    evaluate, loop = evaluator(tmp_path)
    free, masked = evaluate(), evaluate(loop.masking.rule)
    assert masked.results["entropy"].mean < free.results["entropy"].mean
    # Full softmax: the weights are the reference's
    assert masked.results["kl_per_token"].mean == pytest.approx(0, abs=1e-6)
    assert masked.results["kl_behaviour_per_token"].mean > 0.1


def test_several_completions_per_prompt_are_consecutive_and_differ(tmp_path: Path) -> None:
    evaluate, loop = evaluator(tmp_path, completions_per_prompt=3)
    records = evaluate().samples
    assert [r["id"] for r in records] == [s.id for s in loop.samples[:12] for _ in range(3)]
    assert sum(records[3 * i]["completion"] != records[3 * i + 1]["completion"] for i in range(12)) >= 10


def test_masked_rows_and_samples_of_a_run(tmp_path: Path) -> None:
    generation = {"max_new_tokens": 6, "mask": True}
    recipe = small_recipe(
        tmp_path,
        algorithm={"name": "nlpo"},
        evaluation={"generation": generation, "samples": 3, "every": 2, "prompts": 8},
    )
    result = run(recipe)
    assert {"eval/reward", "eval/masked/reward", "eval/masked/distinct-1"} <= result.metrics.keys()
    files = sorted(path.name for path in (result.folder / "samples").iterdir())
    assert files == ["step-000000.jsonl", "step-000002.jsonl", "step-000003.jsonl"]
    rows = [json.loads(line) for line in (result.folder / "samples" / files[0]).read_text().splitlines()]
    assert len(rows) == 3
    assert {"id", "prompt", "completion", "text", "references", "reward"} <= rows[0].keys()
    assert "eval/reward" in metric_lines(result.folder)[-1]


SHRINKING = """
from typing import Any
from rl4lms import NLPO

class Shrinking(NLPO):
    smaller = 1.0

    def update(self, experience, step):
        self.smaller *= 0.7
        return super().update(experience, step)

    def own_mask(self):
        mask = super().own_mask()
        return mask.model_copy(update={"top_p": self.mask_top_p * self.smaller})

    def state_dict(self) -> dict[str, Any]:
        return {"smaller": self.smaller}

    def load_state_dict(self, state) -> None:
        self.smaller = state["smaller"]
"""


def test_the_mask_of_an_algorithm_of_ones_own_is_that_of_the_run(tmp_path: Path) -> None:
    """It is what the algorithm makes of its options and its state, and is asked for nowhere else."""
    (tmp_path / "own.py").write_text(SHRINKING)
    recipe = small_recipe(
        tmp_path,
        algorithm={"name": f"{tmp_path / 'own.py'}:Shrinking", "mask_top_p": 0.9},
        evaluation={"generation": {"max_new_tokens": 6, "mask": True}, "prompts": 8},
    )
    then = run(recipe).metrics
    now = evaluate_run(recipe, run_folder=tmp_path / "run", split="validation", masked=True).results
    for key in ("reward", "entropy", "kl_behaviour_per_token"):
        assert now[key].mean == pytest.approx(then[f"eval/masked/{key}"], abs=1e-5), key
    assert then["eval/masked/entropy"] < 0.9 * then["eval/entropy"]


def test_a_policy_equal_to_the_reference_has_no_kl(tmp_path: Path) -> None:
    evaluate, loop = evaluator(tmp_path)
    run_steps(loop, 1)
    copy_policy_weights(loop.models.ref_policy, loop.models.policy)
    assert evaluate().results["kl_per_sequence"].mean == pytest.approx(0, abs=1e-5)


class NotInstalled:
    """A metric of which a part is missing on every machine."""

    def __init__(self) -> None:
        raise MissingPartError("Java, which SPICE needs,", "run: apt install default-jre")


def test_a_metric_that_lacks_a_part_is_absent_and_never_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(registry.metrics, "_entries", dict(registry.metrics._entries))
    registry.metrics.register("lacking", NotInstalled)
    metrics = [{"name": "lacking"}, {"name": "diversity"}]
    recipe = small_recipe(tmp_path, evaluation={"every": 0, "prompts": 8, "metrics": metrics})
    run(recipe, progress=True)
    why = "Java, which SPICE needs, is missing; run: apt install default-jre"
    assert f"the metric 'lacking' will be absent: {why}" in capsys.readouterr().err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["absent"] == {"lacking": why}
    assert "eval/distinct-1" in result["eval"]
    assert not any("lacking" in key for line in metric_lines(tmp_path / "run") for key in line)
    console = Console(width=80, file=io.StringIO())
    console.print(results_table("title", result["eval"], result["absent"]))
    assert re.search(r"^lacking +absent *$", console.file.getvalue(), re.MULTILINE)


def test_as_a_reward_it_stops_the_run_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.metrics, "_entries", dict(registry.metrics._entries))
    registry.metrics.register("lacking", NotInstalled)
    with pytest.raises(MissingPartError, match="run: apt install default-jre"):
        run(small_recipe(tmp_path, reward="lacking"))


def test_results_say_how_they_were_computed(tmp_path: Path) -> None:
    metrics = [{"name": "rouge"}]
    run(small_recipe(tmp_path, evaluation={"every": 0, "prompts": 8, "metrics": metrics}))
    result = json.loads((tmp_path / "run" / "result.json").read_text())["eval"]
    assert result["eval/rouge1"]["signature"].startswith("rouge")
    assert "version:rl4lms-" in result["eval/rouge1"]["signature"]
    assert "signature" not in result["eval/kl_per_token"]


def test_progress_counts_the_completions_that_there_are(tmp_path: Path) -> None:
    """Not those that were asked for: a file may have fewer rows."""
    evaluate, _ = evaluator(tmp_path, completions_per_prompt=3)
    told: list[tuple[int, int]] = []
    evaluate(progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (36, 36)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


@pytest.mark.parametrize("masked", [False, True])
def test_a_run_with_the_attention_of_a_gpu_is_evaluated_without_one(tmp_path: Path, masked: bool) -> None:
    recipe = small_recipe(tmp_path, mask={"source": "policy", "rule": "top_k", "top_k": 4})
    run(recipe)
    model = recipe.model.model_copy(update={"attention": "flex"})
    there = recipe.model_copy(update={"model": model})
    found, plain = (
        evaluate_run(given, run_folder=tmp_path / "run", split="validation", masked=masked) for given in (there, recipe)
    )
    assert found.results["reward"].mean == plain.results["reward"].mean


@pytest.mark.parametrize("source", ["policy", "lagged", "reference"])
def test_masked_decoding_afterwards_is_that_of_the_run(tmp_path: Path, source: str) -> None:
    recipe = small_recipe(
        tmp_path,
        "t5-untied",
        mask={"source": source, "rule": "top_k", "top_k": 4},
        optimizer={"learning_rate": 1e-2},
        evaluation={"generation": {"max_new_tokens": 6, "mask": True}, "prompts": 8},
    )
    then = run(recipe).metrics
    now = evaluate_run(recipe, run_folder=tmp_path / "run", split="validation", masked=True).results
    start = evaluate_run(recipe, run_folder=tmp_path / "run", split="validation", masked=True, start=True).results
    for key in ("reward", "entropy", "kl_behaviour_per_token"):
        assert now[key].mean == pytest.approx(then[f"eval/masked/{key}"], abs=1e-5), key
    assert then["eval/masked/entropy"] < then["eval/entropy"]
    assert start["entropy"].mean <= math.log(5) + 1e-6  # four tokens and the end
    assert start["entropy"].mean != now["entropy"].mean
