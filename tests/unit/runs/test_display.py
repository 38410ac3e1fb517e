"""What is shown at an evaluation, and what happens when nobody can see it."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml

from rl4lms.metrics import build, compute_all
from rl4lms.runs.display import Display, quiet_libraries, with_prompt
from rl4lms.training.run import run
from tests.runs import small_recipe


def test_the_line_of_an_evaluation_has_the_keys_that_metrics_report(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"prompts": ["p"], "completions": ["a b a b c"], "references": [()], "columns": {}}
    numbers = {f"eval/{result.key}": result.mean for result in compute_all([build("diversity")], **rows)}
    Display(texts=False).evaluation(3, {"eval/reward": 0.5, **numbers}, [])
    assert capsys.readouterr().err.split() == ["step", "3", "reward", "0.500", "distinct-2", "0.750"]


def shown(capsys: pytest.CaptureFixture[str], **sample: object) -> str:
    Display().evaluation(3, {"eval/reward": 0.5}, [sample])
    return capsys.readouterr().err.split("\n")[1]


def test_a_sample_is_prompt_and_completion_and_reward(capsys: pytest.CaptureFixture[str]) -> None:
    """Without colour; as the text was decoded, and with an ellipsis where something is cut and nowhere else."""
    prompt = "x" * 50 + "The movie was disapp"
    cut = {"prompt": prompt, "completion": "ointed", "text": prompt + "ointed\nme", "reward": -0.123456}
    assert shown(capsys, **cut) == f"  …{prompt[-60:]} → ointed me [-0.123]"
    whole = {"prompt": "so good ", "completion": "and", "text": "so good and so", "reward": 1.0}
    assert shown(capsys, **whole) == "  so good → and so [1]"
    assert shown(capsys, **whole | {"reward": None}) == "  so good → and so"
    assert shown(capsys, prompt="Good", completion="bad", text="good bad") == "  Good → bad"  # of another tokenizer


def test_the_prompt_is_dim() -> None:
    text = with_prompt("good", "good, and", "and")
    assert (text.plain, [(span.start, span.end, span.style) for span in text.spans]) == (
        "good → , and",
        [(0, 4, "dim")],
    )


def test_without_a_terminal_there_are_some_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        for step in range(1, 101):
            display.report("ppo", step, 100, f"score {step}")
        for rows in (128, 256, 300, 300):
            display.report("decoding", rows, 300)
        for step in (1, 2, 3):
            display.report("ppo", step, 3)
    lines = capsys.readouterr().err.splitlines()
    steps = [1, *range(5, 101, 5)]
    assert lines[: len(steps)] == [f"ppo {step}/100  score {step}" for step in steps]
    assert lines[len(steps) :] == [
        *("decoding 128/300", "decoding 256/300", "decoding 300/300", "ppo 1/3", "ppo 2/3", "ppo 3/3")
    ]
    with Display(enabled=False) as display:
        display.report("ppo", 1, 1)
    assert capsys.readouterr().err == ""


class Gone(io.StringIO):
    """A terminal that is closed after some writes."""

    def __init__(self, error: Exception, after: int) -> None:
        super().__init__()
        self.error, self.left = error, after

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), BrokenPipeError(), ValueError("I/O operation on closed file")]
)
def test_a_run_goes_on_when_its_terminal_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    quiet_libraries()  # the bars of transformers know nothing of this
    stream = Gone(error, after=1)
    monkeypatch.setattr(sys, "stderr", stream)
    result = run(small_recipe(tmp_path, tracking={"progress": True}, evaluation={"every": 1, "samples": 2}))
    monkeypatch.undo()
    assert stream.getvalue().startswith("note: 64 of the 64 validation rows are rows of data.train ")
    assert stream.left < 0
    assert json.loads((result.folder / "result.json").read_text())["iterations"] == 3


@pytest.mark.parametrize(
    ("kind", "module", "hidden"),
    [
        (FutureWarning, "transformers.modeling_utils", True),
        (FutureWarning, "peft", True),
        (DeprecationWarning, "torch.optim", True),
        (UserWarning, "transformers.modeling_utils", False),
        (FutureWarning, "transformers_of_mine", False),
        (FutureWarning, "my_reward", False),
        (FutureWarning, "rl4lms.models.families", False),
    ],
)
def test_deprecations_inside_of_libraries_are_all_that_is_hidden(
    kind: type[Warning], module: str, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> list[str]:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            quiet_libraries()
            warnings.warn_explicit("`x` is deprecated", kind, "file.py", 1, module=module)
        return [str(warning.message) for warning in seen]

    monkeypatch.setattr(sys, "warnoptions", [])
    assert shown() == ([] if hidden else ["`x` is deprecated"])
    monkeypatch.setattr(sys, "warnoptions", ["default"])  # whoever asks for warnings gets them
    assert shown() == ["`x` is deprecated"]


DISABLED = "print(datasets.are_progress_bars_disabled())"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("quiet_libraries()\nimport datasets\n" + DISABLED, "True"),
        ("import datasets\nquiet_libraries()\n" + DISABLED, "True"),
        ("import datasets\nwith without_bars():\n    " + DISABLED + "\n" + DISABLED, "True False"),
        ("import datasets\ndatasets.disable_progress_bars()\nwith without_bars():\n    pass\n" + DISABLED, "True"),
        ("with without_bars():\n    pass\nimport datasets\n" + DISABLED, "False"),
    ],
)
def test_datasets_shows_no_bars_whenever_it_is_imported(code: str, said: str) -> None:
    assert printed("from rl4lms.runs.display import quiet_libraries, without_bars\n" + code) == said.split()


def printed(code: str, *arguments: str) -> list[str]:
    """Return the words that Python prints, in an environment in which `datasets` may show bars."""
    environment = {key: value for key, value in os.environ.items() if key != "HF_DATASETS_DISABLE_PROGRESS_BARS"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_data_is_loaded_without_bars_which_are_left_as_they_were(tmp_path: Path) -> None:
    code = """
import sys, datasets
from rl4lms.data.saved import load_saved
datasets.Dataset.from_dict({"prompt": ["a", "b"]}).save_to_disk(sys.argv[1])
loads = datasets.load_from_disk
def load_from_disk(path):
    print(datasets.are_progress_bars_disabled())
    return loads(path)
datasets.load_from_disk = load_from_disk
load_saved(sys.argv[1], "train")
print(datasets.are_progress_bars_disabled())
datasets.disable_progress_bars()
load_saved(sys.argv[1], "train")
print(datasets.are_progress_bars_disabled())
"""
    lines = [word for word in printed(code, str(tmp_path / "saved")) if word in ("True", "False")]
    assert lines == ["True", "False", "True", "True"]


def test_a_run_imports_no_library_that_it_does_not_use(tmp_path: Path) -> None:
    """Each takes tens of megabytes for as long as a run lasts, and half a second or more of its start."""
    recipe = small_recipe(tmp_path, tracking={"progress": True}, evaluation={"every": 2})
    (tmp_path / "recipe.yml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")
    code = """
import sys
from transformers import GPT2LMHeadModel, TrainerCallback  # versions of it import some themselves
before = set(sys.modules)
from rl4lms.cli.main import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = {"datasets", "nltk", "pandas", "pyarrow", "scipy.stats", "sklearn"}
print("\\nimported", *sorted(heavy & sys.modules.keys() - before))
"""
    words = printed(code, "train", str(tmp_path / "recipe.yml"), "training.iterations=2")
    assert words[words.index("imported") :] == ["imported"]
