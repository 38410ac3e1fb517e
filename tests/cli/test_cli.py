"""Every verb, run in this process; and what only a process of its own shows: speed, exit codes, no traceback."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import rl4lms
from rl4lms import recipes
from rl4lms.cli.main import app
from rl4lms.config import dump_recipe, read_recipe
from rl4lms.errors import ConfigError
from rl4lms.runs.evaluations import read_evaluation
from rl4lms.training.run import run
from tests.runs import metric_lines, small_recipe

VERBS = [
    "init",
    "train",
    "evaluate",
    "generate",
    "reward train",
    "metrics score",
    "metrics setup-wordnet",
    "ls",
    "show",
    "demo",
    "doctor",
]


def call(*words: object, columns: int = 80, text: str | None = None):
    return CliRunner(env={"COLUMNS": str(columns), "TERM": "dumb"}).invoke(
        app, [str(word) for word in words], input=text
    )


def process(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rl4lms", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "COLUMNS": "80"}, cwd=cwd
    )


def recipe_file(tmp_path: Path, **settings) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(small_recipe(tmp_path, **settings)))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished NLPO run."""
    folder = tmp_path_factory.mktemp("nlpo")
    algorithm = {"name": "nlpo", "mask_top_p": 0.5, "mask_update_every": 1, "minibatch_size": 8}
    return run(small_recipe(folder, algorithm=algorithm, training={"iterations": 2, "prompts_per_iteration": 8})).folder


# --- help, errors


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_and_fits_80_columns(verb):
    result = call(*verb.split(), "--help")
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert f"rl4lms {verb}" in " ".join(result.output.split())
    assert max(len(line) for line in result.output.splitlines()) <= 80


def test_help_names_every_verb():
    output = call("--help").output
    assert all(verb.split()[0] in output for verb in VERBS)


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, rl4lms.cli.main; print({'torch', 'transformers', 'pydantic', 'numpy', 'matplotlib', 'jinja2'} "
        "& sys.modules.keys())"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()
        == "set()"
    )

    def seconds() -> float:
        start = time.perf_counter()
        assert process("--help").returncode == 0
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 1.5  # 0.3 s on an idle machine; tests share theirs


def test_mistakes_are_told_before_anything_heavy_is_imported(tmp_path):
    """In one process, one after the other: none of them has loaded what is not there at the end."""
    (tmp_path / "runs").mkdir()
    mistakes = {
        "generate runs/nope text": "runs/nope: there is no such folder",
        "evaluate runs/nope": "runs/nope: there is no such folder",
        "evaluate gpt2 --data nope.jsonl": "nope.jsonl: no such file",
        "compare runs/nope runs/neither": "runs/nope: neither the folder of a run",
        "report A=runs/nope": "runs/nope: neither the folder of a run",
        "train --model runs/nope --data nope.jsonl --reward rouge": "runs/nope: there is no such folder",
        "train --model gpt2 --data nope.jsonl --reward rouge": "nope.jsonl: no such file",
        "train nope.yaml": "nope.yaml: cannot be read",
        "train imdb-mini-ppo --seeds 1-": "is no seed",
        "train imdb-mini-ppo rollout.top_q=1": "did you mean 'top_p'?",
        "train imdb-mini-ppo reward=rougee": "did you mean 'rouge' or 'rouge_combined'? All names: rl4lms ls rewards, rl4lms ls metrics",
        "train imdb-mini-ppo evaluation.metrics=[rouge,bleuu]": "did you mean 'bleu' or 'bleurt'? All names: rl4lms ls metrics",
        "doctor nope.yaml": "nope.yaml: cannot be read",
        "reward train --base gpt2 --train nope.csv --output out": "nope.csv: no such file",
        "metrics score nope.jsonl --metric rouge": "nope.jsonl: no such file",
        "ls runs nope": "nope: there is no such folder",
        "show nlp": "did you mean 'nlpo'?",
        "init recipe.txt": "a recipe is a file *.yaml",
    }
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom rl4lms.cli.main import app\n"
        f"for words in {list(mistakes)!r}:\n    print(CliRunner().invoke(app, words.split()).output.splitlines()[-1])\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'nltk', 'scipy', 'matplotlib'} & sys.modules.keys()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path
    ).stdout.splitlines()
    assert found.pop() == "[]"
    assert [message in line for message, line in zip(mistakes.values(), found, strict=True)] == [True] * len(mistakes)


@pytest.mark.slow
def test_a_run_without_a_warm_start_imports_no_trainer():
    code = "import sys, rl4lms.training.run; print('transformers.trainer' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "False\n"


def test_version():
    assert call("--version").output.strip() == __import__("rl4lms").__version__


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "imdb-mini-npo"], "did you mean 'imdb-mini-nlpo'?"),
        (["train", "missing.yaml"], "missing.yaml"),
        (["train", "imdb-mini-ppo", "training.iteration=3"], "did you mean 'iterations'?"),
        (["train", "imdb-mini-ppo", "--resume", "output_dir=nothing"], "no run to resume there"),
        (["evaluate", "gpt2"], "--task NAME or --data FILE"),
        (["evaluate", "imdb-mini-ppo", "--masked"], "name the folder of a run that has one"),
        (["generate", "no/such/model", "a prompt"], "no/such/model"),
        (["generate", "gpt2", "a prompt", "--file", "prompts.txt"], "choose one"),
        (["generate", "gpt2", "--file", "missing.txt"], "missing.txt"),
        (["reward", "train", "--base", "x", "--train", "missing.csv", "--output", "out"], "missing.csv: no such file"),
        (["show", "nlp"], "did you mean 'nlpo'?"),
        (["doctor", "missing.yaml"], "missing.yaml"),
    ],
)
def test_mistakes_are_one_plain_message_and_exit_code_2(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert message in result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("error: ")
    assert len(lines) == 1
    assert "Traceback" not in result.output


def test_errors_reach_a_shell_the_same_way(tmp_path):
    result = process("train", "imdb-mini-ppo", "optimizer.learning_rate=fast", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == 'error: override optimizer.learning_rate=fast: should be a number, got "fast"\n'


def test_bugs_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(recipes, "names", lambda: 1 / 0)
    assert isinstance(call("show", "nlpo").exception, ZeroDivisionError)


def test_interrupted_training_says_how_to_resume(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    path = recipe_file(tmp_path)
    assert call("train", path, "training.iterations=1", "--quiet").exit_code == 0
    monkeypatch.setattr("rl4lms.training.run.run", interrupted)
    result = call("train", path, "--resume")
    assert result.exit_code == 130
    assert f"stopped at once; continue from {tmp_path / 'run' / 'checkpoints' / 'step-000001'}" in result.output
    assert f"rl4lms train {tmp_path / 'run'} --resume" in result.output


# --- train


def test_train_writes_a_run_and_resumes_it(tmp_path):
    path = recipe_file(tmp_path)
    first = call("train", path, "training.iterations=1", "--quiet")
    assert first.exit_code == 0, first.output
    folder = tmp_path / "run"
    assert str(folder) in first.output
    assert json.loads((folder / "result.json").read_text())["iterations"] == 1
    again = call("train", path, "--quiet")
    assert again.exit_code == 2
    assert "--resume" in again.output
    more = call("train", folder, "training.iterations=2", "--resume")
    assert more.exit_code == 0, more.output
    assert json.loads((folder / "result.json").read_text())["iterations"] == 2
    assert "reward" in more.output
    assert "± std. error" in more.output


def test_a_run_folder_without_resume_is_refused(finished):
    result = call("train", finished)
    assert result.exit_code == 2
    assert "--resume" in result.output


def test_dry_run_counts_and_trains_nothing(tmp_path):
    rollout = {"max_new_tokens": 6, "completions_per_prompt": 3}
    path = recipe_file(
        tmp_path,
        rollout=rollout,
        supervised={"epochs": 2, "batch_size": 10},
        model={"path": str(tmp_path / "lm-gpt2"), "value": "shared"},
    )
    result = call("train", path, "--dry-run")
    assert result.exit_code == 0, result.output
    lines = dict(
        line[2:].split("  ", 1) for line in result.output.splitlines() if line.startswith("# ") and "  " in line
    )
    lines = {name: value.strip() for name, value in lines.items()}
    assert lines["one iteration"] == "16 prompts x 3 = 48 completions, up to 288 tokens"
    assert lines["updates"] == "4 epochs x 3 minibatches = 12 per iteration"
    assert lines["learning rate"] == "0.001"
    assert lines["tokens in all"] == "up to 864 in 3 iterations"
    assert lines["warm start"] == "64 texts, 14 steps of 10"
    assert lines["evaluations"] == "2, each of 8 of 64 validation prompts, up to 6 new tokens"
    assert "2 copies (policy, reference)" in lines["parameters"]
    assert not (tmp_path / "run").exists()
    written = tmp_path / "printed.yaml"
    written.write_text(result.output)  # what it prints is a recipe
    assert read_recipe(written) == read_recipe(path)


def test_dry_run_counts_an_asset_without_building_it(cache_dir):
    before = set(cache_dir.iterdir())
    result = call("train", "imdb-mini-nlpo", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "4 copies (policy, reference, value, mask)" in result.output
    assert set(cache_dir.iterdir()) == before


# --- evaluate, generate


def test_evaluate_a_run_gives_the_numbers_it_ended_with(finished, tmp_path):
    output = tmp_path / "numbers.json"
    result = call("evaluate", finished, "--split", "validation", "--output", output, "--quiet")
    assert result.exit_code == 0, result.output
    then, now = json.loads((finished / "result.json").read_text())["eval"], json.loads(output.read_text())
    assert now["results"]["reward"]["mean"] == pytest.approx(then["eval/reward"]["mean"], abs=1e-9)
    assert now["results"]["reward"]["stderr"] == pytest.approx(then["eval/reward"]["stderr"], abs=1e-9)
    assert now["results"]["kl_per_token"]["mean"] == pytest.approx(then["eval/kl_per_token"]["mean"], abs=1e-5)
    assert then["eval/kl_per_token"]["mean"] != 0
    assert len(now["samples"]) == 8


def test_evaluate_inside_the_mask_differs(finished, tmp_path):
    numbers = []
    for number, words in enumerate(([], ["--masked"])):
        output = tmp_path / f"{number}.json"
        result = call("evaluate", finished, "--split", "validation", "--output", output, "--quiet", *words)
        assert result.exit_code == 0, result.output
        numbers.append(json.loads(output.read_text())["results"])
    assert numbers[1]["entropy"]["mean"] < numbers[0]["entropy"]["mean"]


def test_beams_know_no_mask(finished):
    beams = ("evaluate", finished, "--split", "validation", "evaluation.generation.num_beams=2", "--quiet")
    assert call(*beams).exit_code == 0
    result = call(*beams, "--masked")
    assert result.exit_code == 2
    words = "--masked: beam search knows no mask, and evaluation.generation.num_beams is 2"
    assert words in " ".join(result.output.split())


def test_evaluate_a_recipe_is_its_model_before_training(tmp_path):
    path = recipe_file(tmp_path)
    result = call(
        "evaluate", path, "--split", "validation", "--prompts", 4, "--output", tmp_path / "out.json", "--quiet"
    )
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert results["kl_per_token"]["mean"] == 0
    assert results["reward"]["n"] == 4


@pytest.mark.parametrize(
    ("said", "words", "wanted"),
    [
        ("train", [], "train"),
        (None, [], "test"),
        (None, ["evaluation.split=validation"], "validation"),
        pytest.param("train", ["--split", "validation"], "validation", marks=pytest.mark.slow),
        pytest.param(
            "train",
            ["evaluation.split=validation", "--split", "validation"],
            "validation",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_evaluate_takes_the_split_of_a_recipe(tmp_path, monkeypatch, said, words, wanted):
    path = recipe_file(tmp_path)
    recipe = yaml.safe_load(path.read_text())
    recipe["evaluation"].pop("split", None)
    recipe["evaluation"] |= {} if said is None else {"split": said}
    path.write_text(yaml.dump(recipe))
    seen = []

    def evaluated(recipe, *, split, **more):
        seen.append(split)
        raise ConfigError("far enough")

    monkeypatch.setattr("rl4lms.training.evaluate.evaluate", evaluated)
    monkeypatch.setattr("rl4lms.api.calls.evaluate_recipe", evaluated)
    assert "far enough" in call("evaluate", path, *words).output
    options = [word for word in words if "=" in word]
    split = words[words.index("--split") + 1] if "--split" in words else None
    with pytest.raises(ConfigError, match="far enough"):
        rl4lms.evaluate(path, split=split, overrides=options)
    assert seen == [wanted, wanted]
    result = call("evaluate", path, "evaluation.split=train", "--split", "test")
    assert result.exit_code == 2
    assert "--split test says another one; leave one of them out" in " ".join(result.output.split())


def test_evaluate_a_model_on_a_file(tmp_path):
    small_recipe(tmp_path)
    result = call(
        "evaluate",
        tmp_path / "lm-gpt2",
        "--data",
        tmp_path / "numbers.jsonl",
        "--metric",
        "diversity",
        "--prompts",
        4,
        "--quiet",
        "prompt.max_tokens=8",
    )
    assert result.exit_code == 0, result.output
    assert "distinct-1" in result.output


def test_generate_is_reproducible_and_speaks_json(finished):
    words = ["generate", finished, "1 2", "3", "-n", 2, "--seed", 5, "--max-new-tokens", 4, "--jsonl"]
    first, second = call(*words), call(*words)
    assert first.exit_code == 0, first.output
    rows = [json.loads(line) for line in first.stdout.splitlines()]
    assert [row["prompt"] for row in rows] == ["1 2", "1 2", "3", "3"]
    assert all(len(row["completion"].split()) <= 4 for row in rows)
    assert all(row["text"] == f"{row['prompt']} {row['completion']}".strip() for row in rows)
    assert first.stdout == second.stdout
    assert call(*[*words[:-1], "--seed", 6, "--jsonl"]).stdout != first.stdout


def test_generate_reads_files_and_standard_input(finished, tmp_path):
    (tmp_path / "p.txt").write_text("1 2\n\n3\n")
    (tmp_path / "p.jsonl").write_text('{"prompt": "1 2"}\n{"prompt": "3"}\n')
    outputs = {
        call("generate", finished / "model", "--file", tmp_path / "p.txt", "--temperature", 0).stdout,
        call("generate", finished / "model", "--file", tmp_path / "p.jsonl", "--temperature", 0).stdout,
        call("generate", finished / "model", "--temperature", 0, text="1 2\n3\n").stdout,
    }
    assert len(outputs) == 1
    assert [line.startswith(prompt) for line, prompt in zip(outputs.pop().splitlines(), ("1 2", "3"), strict=True)] == [
        True,
        True,
    ]


# --- reward train


def test_reward_train_makes_a_classifier(tmp_path):
    from tests.tiny import tiny_lm, word_tokenizer

    base = tmp_path / "base"
    tiny_lm("bert").save_pretrained(base)
    word_tokenizer().save_pretrained(base)
    rows = [{"text": f"w{3 + i % 5} w9", "label": 1} for i in range(24)] + [
        {"text": f"w{20 + i % 5} w9", "label": 0} for i in range(24)
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "classifier"
    options = ["--label-names", "bad,good", "--epochs", 20, "--learning-rate", 3e-3, "--batch-size", 16, "--quiet"]
    result = call("reward", "train", "--base", base, "--train", data, "--test", data, "--output", output, *options)
    assert result.exit_code == 0, result.output
    assert "bad, good" in result.output
    config = json.loads((output / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"}
    assert json.loads((output / "reward_model.json").read_text())["result"]["accuracy"] == 1.0
    again = call("reward", "train", "--base", base, "--train", data, "--output", output, *options)
    assert again.exit_code == 2
    assert "not empty" in again.output


# --- ls, show


def test_ls_lists_everything_with_a_summary():
    output = call("ls").output
    for name in ("classifier", "perplexity", "imdb", "nlpo", "imdb-mini-nlpo"):
        assert name in output
    assert max(len(line) for line in output.splitlines()) <= 80
    assert "imdb-mini-ppo" not in call("ls", "rewards").output


def test_ls_names_where_outside_components_come_from(monkeypatch):
    from rl4lms.plugins import registry

    monkeypatch.setattr(registry.rewards, "_entries", dict(registry.rewards._entries))

    @registry.rewards.register("brevity")
    def brevity(completions, *, target_words: int = 20, **columns):
        """Rewards short texts."""

    output = call("ls", "rewards", columns=140).output
    assert "Rewards short texts." in output
    assert "brevity" in output
    assert __name__ in output
    shown = call("show", "brevity").output
    assert "target_words" in shown
    assert "20" in shown


def test_show_explains_options():
    output = " ".join(call("show", "nlpo").output.split())
    assert "mask_top_p" in output
    assert "0.9" in output
    assert "Ramamurthy et al., 2023" in output
    for name in recipes.names():
        assert call("show", name).output.startswith("#")


def test_show_a_task_gives_card_and_prompts():
    output = call("show", "imdb", columns=200).output
    assert "# imdb" in output
    from rl4lms.tasks import build

    assert all(sample.prompt in output for sample in build("imdb").samples("train")[:3])


# --- recipes


@pytest.mark.parametrize("name", recipes.names())
def test_packaged_recipes_load_and_say_what_they_are(name):
    path = recipes.find(name)
    recipe = read_recipe(path)
    assert recipe.name == name
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert head[0].endswith(".")
    for word in ("Hardware", "Time", f"rl4lms train {name}", "Override"):
        assert any(word in line for line in head), word
    override = next(line.split("Override", 1)[1].split()[3:] for line in head if "Override" in line)
    assert read_recipe(path, override) != recipe


def test_the_full_edition_has_the_settings_of_the_paper():
    ppo, nlpo = read_recipe(recipes.find("imdb-ppo")), read_recipe(recipes.find("imdb-nlpo"))
    for recipe in (ppo, nlpo):
        assert recipe.optimizer.learning_rate == 1e-6
        assert (recipe.kl.kl_coef, recipe.kl.kl_target) == (0.1, 0.1)
        assert (recipe.rollout.min_new_tokens, recipe.rollout.max_new_tokens, recipe.rollout.top_k) == (48, 48, 50)
        assert recipe.prompt.max_tokens == 64
        assert recipe.algorithm.options["n_epochs"] == 5
        assert recipe.training.iterations == 50
    assert nlpo.algorithm.options["mask_top_p"] == 0.9
    assert nlpo.algorithm.options["mask_update_every"] == 5


def test_show_explains_a_component_in_a_file():
    examples = Path(__file__).parents[2] / "examples"
    result = call("show", f"{examples / 'own_sequence_loss.py'}:Gspo")
    assert result.exit_code == 0, result.output
    assert "Clip the ratio of whole completions" in result.output
    assert "largest change of a sequence's ratio" in result.output
    wrong = call("show", f"{examples / 'own_sequence_loss.py'}:Gpso")
    assert wrong.exit_code == 2
    assert "Gpso'; known: Gspo" in wrong.output


def test_flags_alone_train_and_runs_are_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = small_recipe(tmp_path)
    flags = ["--model", recipe.model.path, "--data", recipe.data.train, "--reward", "increasing_numbers"]
    small = [
        "prompt.max_tokens=8",
        "rollout.max_new_tokens=4",
        "training.iterations=2",
        "training.prompts_per_iteration=8",
    ]
    result = call("train", *flags, "--output", "runs/mine", "--quiet", *small)
    assert result.exit_code == 0, result.output
    assert [line["step"] for line in metric_lines(tmp_path / "runs" / "mine")] == [0, 1, 2]
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "config.resolved.yaml").write_text("a: [")
    listed = call("ls", "runs").output
    assert "mine    ppo        2 of 2" in listed
    assert "cannot be read" in listed
    assert call("ls", "runs", "nowhere").exit_code == 2
    assert call("ls", "rewards", "runs").exit_code == 2
    assert "or a model with its prompts" in call("train").stderr
    assert call("train", str(tmp_path / "runs/mine"), "--resume", "--output", "x").exit_code == 2


def test_a_recipe_without_a_name_has_that_of_its_file(tmp_path):
    (tmp_path / "my first run.yaml").write_text("model: gpt2\ndata: x.jsonl\n")
    (tmp_path / "second.yaml").write_text("name: other\nmodel: gpt2\ndata: x.jsonl\n")
    assert read_recipe(tmp_path / "my first run.yaml").name == "my-first-run"
    assert read_recipe(tmp_path / "second.yaml").name == "other"


def test_the_last_table_shows_what_changed(tmp_path):
    recipe = small_recipe(tmp_path)
    (tmp_path / "small.yaml").write_text(dump_recipe(recipe))
    output = call("train", str(tmp_path / "small.yaml"), "--all").output
    start, end = (read_evaluation(tmp_path / "run" / "evaluations" / f"step-00000{step}.json") for step in (0, 3))
    change = [
        b["reward"] - a["reward"]
        for name in start.prompts
        for a, b in zip(start.prompts[name], end.prompts[name], strict=True)
    ]
    mean, error = statistics.fmean(change), statistics.stdev(change) / len(change) ** 0.5
    line = next(line for line in output.splitlines() if line.startswith("reward "))
    assert line.split()[-3:] == [f"{mean:+.3g}", "±", f"{error:.2g}"]
    assert "kl_k3_per_token" in output
    assert "kl_k3_per_token" not in call("train", str(tmp_path / "run"), "--resume").output
    assert call("train", str(tmp_path / "run"), "--resume", "--all", "--quiet").exit_code == 2


def test_no_recipe_is_called_as_a_model_of_the_hub_without_an_owner():
    hub = {"gpt2", "distilgpt2", "t5-small", "t5-base", "t5-large", "bert-base-uncased", "roberta-base", "openai-gpt"}
    assert not hub & set(recipes.names())  # `rl4lms.train("gpt2")` is the model


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "train --iterations 3",
            "No such option: --iterations; settings of a recipe are written as training.iterations=VALUE",
        ),
        ("train --lr 3", "No such option: --lr; settings of a recipe are written as KEY=VALUE (all: docs/config.md)"),
        ("evaluate m --top-q 1", "evaluation.generation.top_p=VALUE or mask.top_p=VALUE or rollout.top_p=VALUE"),
        ("ls --folder x", "No such option: --folder"),
        ("ls reward", "Invalid value for 'KIND': 'reward' is not one of 'rewards', 'metrics'"),
        ("generate m --top-p 2", "Invalid value for '--top-p'"),
        ("train --model m --data p.jsonl --reward preference", "reward.model: is required: Hub id or local folder"),
        (
            "train --model m --reward rouge",
            "such as `task: imdb` or `data: prompts.jsonl` (as options: --task imdb",
        ),
        ("generate m", "there are no prompts: give texts as arguments, a file with --file, or lines on standard input"),
    ],
)
def test_messages_say_what_to_write_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m").mkdir()
    Path("p.jsonl").write_text("")
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, words.split())
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Value error" not in result.stderr
