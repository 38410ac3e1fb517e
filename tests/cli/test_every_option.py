"""No option is silently ignored: every option of every verb, in every kind of use, changes something or is refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from rl4lms.cli.main import app
from tests.runs import number_prompts, save_tiny
from tests.tiny import tiny_lm, word_tokenizer
from tests.unit.integrations.originals import original

RECIPE = """
model: {{path: lm, value: shared}}
data: {{train: numbers.jsonl, validation: held.jsonl, test: test.jsonl}}
prompt: {{max_tokens: 8}}
reward: {{name: increasing_numbers, min_tokens: 6}}
rollout: {{max_new_tokens: 6}}
training: {{iterations: 1, prompts_per_iteration: 4}}
evaluation: {{every: 0, prompts: 6, metrics: [diversity], on_training_data: true}}
algorithm: {algorithm}
output_dir: {folder}
device: cpu
"""

# One or more uses of each verb: the words after `rl4lms`, in a folder with the files that `place` makes.
USES = {
    "init": ["init fresh.yaml", "init fresh.yaml --model lm --data numbers.jsonl --reward increasing_numbers"],
    "train": [
        "train new.yaml",
        "train run --resume",
        "train new.yaml --dry-run",
        "train run --resume --dry-run",
        "train --model lm --data numbers.jsonl --reward increasing_numbers prompt.max_tokens=8 --dry-run",
    ],
    "convert": ["convert old.yml"],
    "evaluate": ["evaluate run", "evaluate nlpo", "evaluate new.yaml", "evaluate lm --data test.jsonl"],
    "compare": ["compare run nlpo", "compare run nlpo --evaluate"],
    "report": ["report nlpo", "report nlpo --evaluate"],
    "generate": ["generate run '1 2'", "generate lm '1 2'"],
    "grue run": [],  # minutes for each use: see test_grue.py
    "grue table": [],  # of what it makes
    "grue score": [],  # of a task, see tests/unit/grue/test_verify.py, as the next two
    "grue verify": [],
    "grue reproduce": [],
    "grue submit": [],  # of a grid, see tests/unit/grue/test_submission.py
    "grue export": [],  # see test_export.py there
    "grue to-lm-eval": [],  # see tests/unit/integrations/test_lm_eval.py, as the next
    "grue from-lm-eval": [],
    "grue report": [],  # see test_page.py there, as the next
    "grue site": [],
    "human create": [],  # see tests/unit/human_eval/test_human_outputs.py, as invite, withdraw and password
    "human serve": [],  # until Ctrl-C: see tests/unit/human_eval/test_serve.py
    "human report": [],  # see test_report_commands.py there
    "human export": [],  # see test_exports.py there
    "human to-reward": [],  # see test_to_reward.py there
    "human power": [],  # see test_analysis.py there
    "human invite": [],
    "human withdraw": [],
    "human password": [],
    "ls": ["ls", "ls runs ."],
    "show": ["show ppo"],
    "demo": [],  # half a minute for each use: see test_demo.py
    "doctor": ["doctor new.yaml"],
    "check task": ["check task new.yaml"],
    "reward train": [
        f"reward train --base classifier --train {rows}.jsonl --output out --epochs 1 --device cpu --batch-size 8{test}"
        for rows in ("labels", "ratings", "preferences", "prompted")
        for test in ("", f" --test more-{rows}.jsonl")
    ],
    "metrics score": [
        "metrics score scored.jsonl --metric diversity",
        "metrics score scored.jsonl --metric rouge",
        "metrics score scored.jsonl scored2.jsonl --metric rouge",
        "metrics score scored.jsonl --metric rouge --metric absent.py:Absent",
    ],
    "metrics setup-wordnet": [],  # see test_metrics.py
}

# A value for every option that is not a switch, other than what it is by default.
VALUES = {
    "init --model": "opt",
    "init --data": "held.jsonl",
    "init --task": "imdb",
    "init --reward": "exact_match",
    "init --algorithm": "nlpo",
    "train --import": "plugin.py",
    "train --model": "opt",
    "train --data": "held.jsonl",
    "train --task": "imdb",
    "train --reward": "exact_match",
    "train --algorithm": "nlpo",
    "train --output": "elsewhere",
    "train --seeds": "5-6",
    "train --artefacts": "rl4lms",
    "convert --output": "elsewhere.yaml",
    "evaluate --import": "plugin.py",
    "doctor --import": "plugin.py",
    "evaluate --split": "validation",
    "evaluate --prompts": "3",
    "evaluate --task": "imdb",
    "evaluate --data": "held.jsonl",
    "evaluate --metric": "exact_match",
    "evaluate --output": "numbers.json",
    "compare --against": "nlpo",
    "compare --metric": "completion_tokens",
    "compare --split": "test",
    "compare --keep": "kept",
    "compare --html": "page.html",
    "compare --markdown": "page.md",
    "compare --import": "plugin.py",
    "report --metric": "completion_tokens",
    "report --split": "test",
    "report --keep": "kept",
    "report --html": "page.html",
    "report --markdown": "page.md",
    "report --import": "plugin.py",
    "generate --file": "prompts.txt",
    "generate -n": "2",
    "generate --max-new-tokens": "2",
    "generate --temperature": "0",
    "generate --top-k": "1",
    "generate --top-p": "0.05",
    "generate --seed": "5",
    "generate --system": "7",
    "generate --stop": " ",  # which the second number brings
    "doctor --rows": "2",
    "reward train --base": "other-classifier",
    "reward train --train": "fewer.jsonl",
    "reward train --output": "elsewhere",
    "reward train --test": "more-labels.jsonl",
    "reward train --kind": "preferences",
    "reward train --text-column": "text2",
    "reward train --label-column": "label2",
    "reward train --rating-column": "rating2",
    "reward train --group-column": "topic",
    "reward train --join": "w30",
    "reward train --label-names": "bad,good",
    "reward train --min-gap": "2",
    "reward train --holdout": "0.4",
    "reward train --curve": "0.5",
    "reward train --epochs": "2",
    "reward train --batch-size": "2",
    "reward train --learning-rate": "0.01",
    "reward train --max-tokens": "1",
    "reward train --truncation-side": "right",
    "reward train --seed": "3",
    "reward train --device": "mps",
    "metrics score --metric": "exact_match",
    "metrics score --corpus": "scored.jsonl",
    "metrics score --completion-column": "completion2",
    "metrics score --references-column": "references2",
    "metrics score --references": "gold.txt",
    "metrics score --prompts": "prompts2.txt",
    "metrics score --prompt-column": "prompt2",
    "metrics score --text-column": "text2",
    "metrics score --output": "scores.json",
}
# Arguments that take settings, and one setting that counts everywhere.
OVERRIDES = "seed=3"


def verbs() -> Iterator[tuple[str, click.Command]]:
    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
        if not hasattr(command, "commands"):
            yield " ".join(path), command
            return
        for name, inner in command.commands.items():
            yield from walk(inner, (*path, name))

    return walk(typer.main.get_command(app), ())


def options() -> Iterator[tuple[str, str, bool]]:
    """Verb, option, and whether it is a switch."""
    for verb, command in verbs():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                yield verb, parameter.opts[0], bool(getattr(parameter, "is_flag", False))
            elif parameter.name == "overrides":
                yield verb, OVERRIDES, True


# Of an option that a use has already, the last counts; of `--metric`, each.
REPEATED = ("--metric", "--epochs", "--batch-size", "--device", "--base", "--train", "--output")
# What a use amounts to without being told: the rows are preferences; a dry run shows no progress; nothing is written
# over, and the task of the example is this one.
SAID = [
    *(
        (use, "--force") for use in (*USES["init"], *USES["convert"])
    ),  # test_init.py and test_convert.py write over a file
    ("init fresh.yaml", "--task"),
    *((use, "--kind") for use in USES["reward train"] if "--train preferences" in use),
    *((use, "--quiet") for use in USES["train"] if "--dry-run" in use),
]

# What only a use with an absent metric has an effect on, and that use, which ends with 3.
ABSENT = "--allow-absent"
# Minutes; and what shares its code with a use that is tried by default.
SLOW = (
    *("reward train", "report nlpo --evaluate", "compare run nlpo --evaluate", "train run --resume --dry-run"),
    *("evaluate nlpo", "evaluate new.yaml", "generate run", "metrics score scored.jsonl --metric diversity"),
    "train new.yaml --seeds",  # test_seeds.py trains with it
    *(
        f"{use} seed="
        for use in ("evaluate lm --data test.jsonl", "evaluate run", "doctor new.yaml", "train run --resume")
    ),
)

CASES = [
    (use, option if is_switch else f"{option} {VALUES[f'{verb} {option}']}")
    for verb, option, is_switch in options()
    for use in USES[verb]
    if (f"{option} " not in f"{use} " or option in REPEATED)
    and (use, option) not in SAID
    and (option == ABSENT) == ("Absent" in use)
]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models, data, recipes and two finished runs, which a use gets a copy of."""
    folder = tmp_path_factory.mktemp("place")
    save_tiny(folder / "lm", "gpt2")
    save_tiny(folder / "opt", "opt")
    for name, seed in (("classifier", 0), ("other-classifier", 1)):
        lm = tiny_lm("bert", layers=1, width=16, seed=seed)
        lm.config.is_decoder = False
        lm.save_pretrained(folder / name)
        word_tokenizer().save_pretrained(folder / name)
    for name, rows in (("numbers", 24), ("held", 11), ("test", 12)):
        number_prompts(folder / f"{name}.jsonl", rows)
    (folder / "plugin.py").write_text("print('imported')\n")
    (folder / "prompts.txt").write_text("3 4\n5\n")
    for name, first, n in (("", 0, 24), ("more-", 24, 10), ("fewer", 0, 12)):
        rows = [
            {
                "text": f"w{3 + i % 20} w{4 + i % 11}",
                "text2": f"w{5 + i % 7}",
                "topic": str(i % 7 // 2),
                "prompt": f"w{3 + i % 9}",
                "label": i % 2,
                "label2": i % 3,
                "rating": i % 5,
                "rating2": i % 7,
                "chosen": f" w{3 + i % 20}",
                "rejected": f" w{4 + 7 * i % 23} w9",
            }
            for i in range(first, first + n)
        ]
        columns = {"labels": ("label", "label2"), "ratings": ("rating", "rating2"), "prompted": ("label", "label2")}
        if name == "fewer":
            write(folder / "fewer.jsonl", rows)
            continue
        for kind, own in columns.items():
            kept = ("text", "text2", "topic", *own, *(["prompt"] if kind == "prompted" else []))
            write(folder / f"{name}{kind}.jsonl", [{key: row[key] for key in kept} for row in rows])
        kept = ("prompt", "chosen", "rejected", "topic")
        write(folder / f"{name}preferences.jsonl", [{key: row[key] for key in kept} for row in rows])
    rows = [
        {f"{key}{end}": value for end in ("", "2") for key, value in row.items()}
        for row in (
            {"prompt": "a", "completion": "b c d", "references": ["b c"], "text": "a b c d"},
            {"prompt": "e", "completion": "f f", "references": ["f g h"], "text": "e f f"},
        )
    ]
    for row in rows:
        row |= {"completion2": "x y z", "references2": ["x b"], "text2": "x y", "prompt2": "q"}
    write(folder / "scored.jsonl", rows)
    write(folder / "scored2.jsonl", [row | {"completion": "c d", "text": "c d"} for row in rows])
    (folder / "absent.py").write_text(
        "from rl4lms.errors import MissingPartError\n\n\nclass Absent:\n    def __init__(self):\n"
        "        raise MissingPartError('a part', 'get it')\n"
    )
    (folder / "gold.txt").write_text("x\nf f\n")
    (folder / "prompts2.txt").write_text("x\ny\n")
    # texts of six tokens in an environment of five, which is a fault
    original(folder, env__args__max_episode_length=5)
    for name, algorithm in (("run", "ppo"), ("nlpo", "nlpo"), ("new", "ppo")):
        (folder / f"{name}.yaml").write_text(RECIPE.format(algorithm=algorithm, folder=name))
    for name in ("run", "nlpo"):
        assert observed(folder, f"train {name}.yaml -q")[0] == 0
    return folder


def observed(folder: Path, words: str) -> tuple[Any, ...]:
    """What a command says and leaves: exit code, output, whether it showed progress, files; nothing of the clock."""
    import shlex

    before = files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner(
            env={"COLUMNS": "100", "TERM": "xterm", "TTY_INTERACTIVE": "1", "TTY_COMPATIBLE": "1"}
        ).invoke(app, shlex.split(words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not re.search(r"it/s|Loading weights|Writing model shards", result.output)  # bars of other libraries
    after = files(folder)
    changed = tuple(sorted(item for item in after.items() if before.get(item[0]) != item[1]))
    return (
        result.exit_code,
        re.sub(r"(about )?[\d.,e-]+ (s|ms|seconds|minutes)\b|\d+:\d\d:\d\d", "", result.stdout),
        re.search(r"\x1b\[2K|^[a-z ]+ \d+/\d+", result.stderr, re.MULTILINE) is not None,
        changed,
    )


def files(folder: Path) -> dict[str, str]:
    """Digests of the files that hold results; times are left out."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in (".html", ".json", ".jsonl", ".safetensors", ".yaml", ".md", ".txt"):
            content = re.sub(rb'"time/[^,}]*|"created[^,}]*', b"", path.read_bytes())
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


@pytest.fixture(scope="module")
def plain(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a use does without further options, looked at once; twice it does the same."""
    known: dict[str, tuple[Any, ...]] = {}

    def look(use: str) -> tuple[Any, ...]:
        if use not in known:
            found = [observed(copied(place, tmp_path_factory.mktemp("plain")), use) for _ in range(2)]
            assert found[0] == found[1]
            assert found[0][0] == (3 if "Absent" in use else 0), found[0]
            known[use] = found[0]
        return known[use]

    return look


def copied(place: Path, to: Path) -> Path:
    return shutil.copytree(place, to / "place")


@pytest.mark.parametrize(
    ("use", "option"),
    [
        pytest.param(
            use, option, marks=pytest.mark.slow if f"{use} {option}".startswith(SLOW) else (), id=f"{use} + {option}"
        )
        for use, option in CASES
    ],
)
def test_it_has_an_effect_or_is_refused(place: Path, plain: Any, tmp_path: Path, use: str, option: str) -> None:
    found = observed(copied(place, tmp_path), f"{use} {option}")
    assert found[0] in (0, 1, 2)
    assert found != plain(use)


def test_every_option_is_tried() -> None:
    elsewhere = {verb for verb, uses in USES.items() if not uses}
    wanted = {(verb, option) for verb, option, _ in options() if verb not in elsewhere} - {
        ("init", "--force"),
        ("convert", "--force"),
    }
    tried = {
        (verb, option)
        for verb, option, _ in options()
        for use, words in CASES
        if use.startswith(verb) and words.split()[0] == option
    }
    assert wanted <= tried
