"""The examples in Python: the single file gives the library's numbers, and both of them learn."""

from __future__ import annotations

import ast
import importlib.util
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import rl4lms
from rl4lms.config import recipe_from_dict
from rl4lms.plugins import registry
from rl4lms.rollout.engine import LocalEngine
from rl4lms.types import Rollout
from tests.runs import run_steps, save_tiny, small_loop, small_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
SINGLE, LOOP = EXAMPLES / "ppo_single_file.py", EXAMPLES / "own_loop.py"
STEPS = 3
# Both compute in float32, which rounds by 6e-8, but not in the same order: the library moves rows to the left, has a
# kernel of its own for GELU, and sums over tokens, not rows. Numbers of order 1 were seen to differ by up to 5e-7, and
# weights by up to 2e-7.
NUMBERS, WEIGHTS = {"abs": 5e-6, "rel": 5e-6}, 2e-6
# AdamW divides a gradient by its own size: where it is zero but for rounding (key biases, which attention does not see;
# units that are off), AdamW makes whole steps of that rounding. With a large eps it does not, so that all weights can
# be compared. With the default they can but for those few, and after one iteration: all but one in 200 agree to a
# hundredth of a step.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "learning_rate": 3e-2},
    "adamw-large-eps": {"name": "adamw", "learning_rate": 1e-3, "eps": 1e-3},
    "adamw": {"name": "adamw", "learning_rate": 1e-3},
}


def load(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


def imports(text: str) -> set[str]:
    """Find the packages that a script imports."""
    tree = list(ast.walk(ast.parse(text)))
    plain = {name.name.split(".")[0] for node in tree if isinstance(node, ast.Import) for name in node.names}
    return plain | {str(node.module).split(".")[0] for node in tree if isinstance(node, ast.ImportFrom)}


class Recording:
    """An engine that keeps the texts of its rollouts."""

    def __init__(self, engine: LocalEngine) -> None:
        self.engine, self.encoder = engine, engine.encoder
        self.texts: list[list[str]] = []

    def rollout(self, *args: Any, **options: Any) -> Rollout:
        found = self.engine.rollout(*args, **options)
        self.texts.append(found.completions)
        return found


ADAPTIVE = {"kl_coef": 0.2, "kl_target": 0.05}


@pytest.mark.parametrize(
    ("family", "optimizer", "kl"),
    [
        *(("gpt2", optimizer, {"kl_coef": 0.2}) for optimizer in OPTIMIZERS),
        ("gpt2", "adamw-large-eps", ADAPTIVE),
        *(pytest.param(family, "adamw-large-eps", ADAPTIVE, marks=pytest.mark.slow) for family in ("llama", "qwen2")),
    ],
)
def test_the_single_file_gives_the_numbers_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, optimizer: str, kl: dict[str, float]
) -> None:
    """Texts, numbers and weights of three iterations; of 33 prompts the last joins the minibatch before."""
    steps = 1 if optimizer == "adamw" else STEPS
    script, path, rate = load(SINGLE, monkeypatch), tmp_path / f"lm-{family}", OPTIMIZERS[optimizer]["learning_rate"]
    rollout: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0.8}
    loop = small_loop(
        tmp_path,
        family,
        model={"path": str(path), "value": "shared"},
        optimizer=OPTIMIZERS[optimizer],
        rollout=rollout,
        kl=kl,
        prompt={"max_tokens": 2},  # some prompts are longer
        training={"iterations": STEPS, "prompts_per_iteration": 33},
    )
    settings = script.Settings(max_prompt_tokens=2, prompts_per_iteration=33, learning_rate=rate, **rollout, **kl)
    tokenizer, prompts = AutoTokenizer.from_pretrained(path), [sample.prompt for sample in loop.samples]
    policy = script.Policy(AutoModelForCausalLM.from_pretrained(path))

    def reward(prompts: list[str], completions: list[str]) -> list[float]:
        return loop.reward(completions=completions)  # type: ignore[return-value, call-arg]

    ppo = script.PPO(policy, tokenizer, reward, prompts, settings)
    if optimizer == "sgd":
        ppo.optimizer = torch.optim.SGD(policy.parameters(), lr=rate)
    elif optimizer == "adamw-large-eps":
        ppo.optimizer.param_groups[0]["eps"] = 1e-3
    start = {name: p.detach().clone() for name, p in policy.named_parameters()}

    loop.engine = recording = Recording(loop.engine)  # type: ignore[assignment]
    theirs = run_steps(loop, steps)
    for step in range(steps):
        ours = ppo.iterate(step)
        assert ppo.texts == recording.texts[step]
        assert {"train/loss", "train/approx_kl", "rollout/score", "rollout/kl_per_token"} <= ours.keys()
        assert ours == {key: pytest.approx(theirs[step][key], **NUMBERS) for key in ours}
    assert theirs[0]["rollout/kl_coef"] == 0.2
    assert (theirs[-1]["rollout/kl_coef"] != 0.2) == ("kl_target" in kl)
    assert theirs[-1]["train/clip_fraction"] > 0.01
    assert (abs(theirs[-1]["rollout/kl_per_token"]) > 1e-3) == (steps > 1)

    found = dict(policy.named_parameters())
    pairs = [(found[name.replace("linear.", "")], p) for name, p in loop.models.policy.named_parameters()]
    errors = torch.cat([(ours - theirs).detach().flatten().abs() for ours, theirs in pairs])
    if optimizer == "adamw":
        assert float((errors > rate / 100).float().mean()) < 1 / 200
    else:
        assert float(errors.max()) < WEIGHTS
    moved = torch.cat([(p - start[name]).detach().flatten().abs() for name, p in found.items()])
    assert float(moved.mean()) > 50 * WEIGHTS


def test_the_single_file_takes_rounding_for_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    script, mask = load(SINGLE, monkeypatch), torch.rand(8, 6, generator=torch.Generator().manual_seed(0)) < 0.7
    rounding = torch.where(mask, 1e-5 * torch.randn(8, 6), 0.0)
    assert not script.whiten(rounding, mask, 1000.0).any()
    assert float(script.whiten(rounding, mask, 1e-5)[mask].std()) == pytest.approx(1, abs=1e-5)


def test_the_single_file_stands_alone_and_is_short() -> None:
    text = SINGLE.read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    assert imports(text) - sys.stdlib_module_names == {"torch", "transformers"}


@pytest.mark.slow
def test_the_single_file_learns_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, prompts = save_tiny(tmp_path / "lm", "gpt2"), tmp_path / "prompts.txt"
    prompts.write_text("1 2\n\n3\n4 5 6\n")
    sizes = {"word": 7, "iterations": 12, "prompts-per-iteration": 32, "max-new-tokens": 6}
    options = sizes | {"learning-rate": 3e-3, "kl-coef": 0.01}
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    words = [str(SINGLE), str(model), str(prompts), *given, "--save", str(tmp_path / "trained")]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(SINGLE), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    scores = [float(line.split("score ")[1].split()[0]) for line in lines]
    kls = [float(line.split("KL per token ")[1].split()[0]) for line in lines]
    assert len(lines) == 12
    assert scores[-1] > scores[0] + 0.3
    assert kls[0] == 0
    assert kls[-1] > 0.1
    AutoModelForCausalLM.from_pretrained(tmp_path / "trained")


def test_the_loop_of_ones_own_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load(LOOP, monkeypatch)

    def share_of_7(completions: list[str], **columns: Any) -> list[float]:
        return [text.split().count("7") / max(1, len(text.split())) for text in completions]

    path, prompts = save_tiny(tmp_path / "lm", "gpt2"), ["1 2", "3", "4 5 6", "8"] * 16
    scores = script.train(str(path), prompts, share_of_7, iterations=10, learning_rate=3e-3)
    assert len(scores) == 10
    assert scores[-1] > scores[0] + 0.3


def test_the_loop_of_ones_own_uses_public_names_and_is_short() -> None:
    text = LOOP.read_text(encoding="utf-8")
    assert text.count("\n") <= 60
    assert imports(text) - sys.stdlib_module_names - {"__future__"} == {"torch", "rl4lms"}
    attributes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in attributes if ast.unparse(node.value) == "rl4lms"}
    assert used <= set(rl4lms.__all__)
    assert "from rl4lms" not in text
    assert {"build_models", "LocalEngine", "Learner", "Experience"} <= used


def metric_line_scores(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["rollout/score"] for line in lines if "rollout/score" in line]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
@pytest.mark.parametrize("name", ["own_algorithm.py:Reinforce", "own_sequence_loss.py:Gspo"])
def test_an_algorithm_of_ones_own_learns_from_a_recipe(tmp_path: Path, name: str, family: str) -> None:
    assert len((EXAMPLES / name.partition(":")[0]).read_text().splitlines()) <= 40
    options = {"name": f"{EXAMPLES / name}", "n_epochs": 2 if "Gspo" in name else 1, "minibatch_size": 16}
    recipe = small_recipe(
        tmp_path,
        family,
        algorithm=options,
        reward={"name": "increasing_numbers", "min_tokens": 6},
        rollout={"max_new_tokens": 6, "min_new_tokens": 6, "completions_per_prompt": 4},
        optimizer={"learning_rate": 3e-3 if "Gspo" in name else 5e-3},
        kl={"kl_coef": 0.01},
        training={"iterations": 25 if "Gspo" in name else 45, "prompts_per_iteration": 16},
        checkpoint={"every": 0},
    )
    result = rl4lms.train(recipe, progress=False)
    scores = metric_line_scores(result.folder)
    assert sum(scores[-3:]) / 3 > sum(scores[:3]) / 3 + 0.2, scores
    line = json.loads((result.folder / "metrics.jsonl").read_text().splitlines()[1])
    assert line["train/first_ratio_error"] < 1e-4
    assert "train/value_loss" not in line


def test_leave_one_out_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two prompts of three completions; one of them without a score."""
    from types import SimpleNamespace

    reinforce = registry.algorithms.get(f"{EXAMPLES / 'own_algorithm.py'}:Reinforce")()
    rewards = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 6.0], [5.0, 0.0], [0.0, 9.0], [1.0, 2.0]])
    row_mask = torch.tensor([True, True, True, True, False, True])
    e = SimpleNamespace(
        rewards=rewards, row_mask=row_mask, rollout=SimpleNamespace(group_size=3), mask=row_mask[:, None].expand(6, 2)
    )
    reinforce.advantages(e)
    assert e.advantages[:, 0].tolist() == [1 - 4, 2 - 3.5, 6 - 1.5, 5 - 3, 0, 3 - 5]


def test_a_task_and_a_metric_of_ones_own(tmp_path: Path) -> None:
    small_recipe(tmp_path)  # the model
    recipe = recipe_from_dict(
        {
            "model": str(tmp_path / "lm-gpt2"),
            "task": {"name": f"{EXAMPLES / 'own_task.py'}:Counting", "upto": 12},
            "output_dir": str(tmp_path / "run"),
            "evaluation": {"metrics": [{"name": f"{EXAMPLES / 'own_metric.py'}:rhymes", "letters": 1}], "every": 0},
            "training": {"iterations": 1, "prompts_per_iteration": 4},
        }
    )
    assert recipe.reward.name == "increasing_numbers"
    result = rl4lms.train(recipe, progress=False)
    assert 0 <= result.metrics["eval/rhymes"] <= 1
    rewarded = small_recipe(
        tmp_path, reward={"name": f"{EXAMPLES / 'own_metric.py'}:rhymes"}, output_dir=str(tmp_path / "rewarded")
    )
    rl4lms.train(rewarded, progress=False)
    assert metric_line_scores(tmp_path / "rewarded")
