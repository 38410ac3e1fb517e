"""What people get wrong, and what they are told: one line on standard error, exit code 2, nothing printed, nothing
written.

Each row of the tables below is a command, typed in a folder with a small model `lm`, prompts `numbers.jsonl`, a recipe
`r.yaml`, and the folder of a finished run `run`; `files` are what is there besides. A message that ends in `...` goes
on in words of another library.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rl4lms.cli.main import app
from tests.runs import number_prompts, save_tiny

RECIPE = """\
model: lm
data: {train: numbers.jsonl, validation: numbers.jsonl}
output_dir: new/run
device: cpu
prompt: {max_tokens: 8}
rollout: {max_new_tokens: 4}
reward: increasing_numbers
training: {iterations: 1, prompts_per_iteration: 4}
evaluation: {every: 0, prompts: 4, on_training_data: true}
checkpoint: {every: 1}
tracking: {progress: false}
"""
REWARDS = """\
def zeros(completions):
    return [0.0] * len(completions)

def by_topic(completions, topic):
    return [0.0] * len(completions)

def scaled(completions, *, scale=1.0):
    return [scale / 0] * len(completions)

def undefined(completions):
    return [float("nan")] * len(completions)

def short(completions):
    return [1.0]

class NoReward:
    pass
"""
BROKEN = {"broken.py": "import json\n\njson.loads('')\n"}
REASON = "{here}/broken.py:3: JSONDecodeError: Expecting value: line 1 column 1 (char 0)"


@dataclass(frozen=True)
class Bad:
    """A command that is wrong.

    Attributes:
        words: after `rl4lms`.
        message: after `error: `.
        files: written before.
        stdin: given to the command.
    """

    words: str
    message: str
    files: dict[str, str | bytes] = field(default_factory=dict)
    stdin: bytes | None = None


RECIPES = {
    "no such recipe file": Bad("train missing.yaml", "missing.yaml: cannot be read: No such file or directory"),
    "no such packaged recipe": Bad(
        "train imdb-mini-npo",
        "imdb-mini-npo: neither a recipe file (*.yaml) nor a recipe that comes with rl4lms; did you mean "
        "'imdb-mini-nlpo'?",
    ),
    "unknown key": Bad(
        "train x.yaml", "x.yaml:12: rollut: unknown key; did you mean 'rollout'?", {"x.yaml": RECIPE + "rollut: {}\n"}
    ),
    "wrong type": Bad(
        "train x.yaml", 'x.yaml:12: seed: should be a whole number, got "one"', {"x.yaml": RECIPE + "seed: one\n"}
    ),
    "key set twice": Bad(
        "train x.yaml", "x.yaml:12: model: set twice, first at x.yaml:1", {"x.yaml": RECIPE + "model: other\n"}
    ),
    "tab": Bad(
        "train x.yaml", "x.yaml:2: not YAML: a tab in the indentation; use spaces", {"x.yaml": "model:\n\tpath: lm\n"}
    ),
    "Python in YAML": Bad(
        "train x.yaml",
        "x.yaml:1: model: tags (`!name`) are not allowed",
        {"x.yaml": "model: !!python/object/apply:os.system [ls]\n"},
    ),
    "UTF-16": Bad(
        "train x.yaml",
        "x.yaml:1: the file is saved with UTF-16; save it as plain UTF-8",
        {"x.yaml": RECIPE.encode("utf-16")},
    ),
    "no prompts": Bad(
        "train x.yaml",
        "x.yaml:1: name exactly one of `task` and `data`: they say where prompts come from, such as `task: imdb` or "
        "`data: prompts.jsonl` (as options: --task imdb, --data prompts.jsonl)",
        {"x.yaml": "model: lm\n"},
    ),
    "unset variable": Bad(
        "train x.yaml",
        "x.yaml:12: name: the environment variable NOT_SET_ANYWHERE is not set",
        {"x.yaml": RECIPE + "name: ${NOT_SET_ANYWHERE}\n"},
    ),
    "no reward": Bad(
        "train r.yaml reward=null",
        "reward: none is named; RL needs one, for example reward: {name: path/to/file.py:function}",
    ),
    "settings at odds": Bad(
        "train r.yaml reward_faults.constant=1",
        "override reward_faults.constant=1: reward_faults: constant has no effect unless exception, non_finite or "
        "timeout is `constant`",
    ),
    "a name that no model can have": Bad(
        f"train r.yaml model.path={'ab' * 400} --dry-run",
        f"model.path: {('ab' * 400)[:57]}... is longer than names of files and models can be (800 characters)",
    ),
    "a name that no file can have": Bad(f"evaluate {'ab' * 400}.yaml", f"{('ab' * 400)[:57]}...: File name too long"),
    "a mask without NLPO": Bad(
        "train r.yaml 'evaluation.generation={mask: true}'",
        "evaluation.generation.mask: ppo has no mask to decode in; leave it out",
    ),
}

OVERRIDES = {
    "no value": Bad("train r.yaml seed=", "override seed=: no value; write '' for empty text and null for nothing"),
    "no equals sign": Bad("train r.yaml seed", "override seed: write it as key.path=value"),
    "unknown key": Bad(
        "train imdb-mini-ppo training.iteration=3",
        "override training.iteration=3: unknown key; did you mean 'iterations'?",
    ),
    "wrong type": Bad(
        "train imdb-mini-ppo optimizer.learning_rate=fast",
        'override optimizer.learning_rate=fast: should be a number, got "fast"',
    ),
    "out of range": Bad(
        "train r.yaml rollout.top_p=2", "override rollout.top_p=2: should be less than or equal to 1, got 2"
    ),
    "not in the list": Bad(
        "train r.yaml evaluation.metrics=[rouge] evaluation.metrics.1=dates",
        "override evaluation.metrics.1=dates: evaluation.metrics is a list of 1, it has no '1'",
    ),
}

ENDS = ".jsonl, .json, .csv, .tsv, .parquet"
DATA = {
    "no such file": Bad(
        "train r.yaml data=none.jsonl", f"none.jsonl: no such file; data files end in {ENDS}, anything else is a Hub id"
    ),
    "a folder": Bad(
        "train r.yaml data=lm",
        f"lm: a folder; name a file that ends in {ENDS}, or a folder that Dataset.save_to_disk wrote",
    ),
    "another kind of file": Bad("train r.yaml data=r.yaml", f"r.yaml: unknown kind of file; use {ENDS}"),
    "empty": Bad("train r.yaml data=d.jsonl", "d.jsonl: no rows", {"d.jsonl": ""}),
    "torn": Bad(
        "train r.yaml data=d.jsonl",
        "d.jsonl:2: not JSON: Unterminated string starting at (column 12)",
        {"d.jsonl": '{"prompt": "1"}\n{"prompt": "2'},
    ),
    "Latin-1": Bad(
        "train r.yaml data=d.jsonl",
        "d.jsonl:1: not UTF-8 text (byte 0xe9); data files are read as UTF-8, so save it as UTF-8",
        {"d.jsonl": b'{"prompt": "caf\xe9"}\n'},
    ),
    "no column prompt": Bad(
        "train r.yaml data=d.csv",
        "d.csv:2: no column 'prompt'; the first line is read as the names of columns: question, answer; if it is a row, "
        "write the names above it, and if one of them has the prompts, say so with data.prompt_column",
        {"d.csv": "question,answer\n1,2\n"},
    ),
    "one id twice": Bad(
        "train r.yaml data=d.csv",
        "d.csv:3: the id 'a' is that of d.csv:2, too; ids name samples, so make them differ, or call the column "
        "something else",
        {"d.csv": "id,prompt\na,1\na,2\n"},
    ),
    "a cell too many": Bad(
        "train r.yaml data=d.csv",
        "d.csv:2: more cells than the header has; put quotes around texts with a separator in them",
        {"d.csv": "prompt\nhello, you\n"},
    ),
    "one row and no validation": Bad(
        "train r.yaml data=d.jsonl",
        "data: d.jsonl has a single row, so none is left for validation; name a file with data.validation",
        {"d.jsonl": '{"prompt": "1"}\n'},
    ),
    "too much held out": Bad(
        "train r.yaml 'data={train: numbers.jsonl, holdout: 9}'",
        "data.holdout: 9 rows for test leave none of numbers.jsonl to train on",
    ),
    "a reserved column": Bad(
        "train r.yaml data=d.csv",
        "d.csv: the column 'completions' has a name that is reserved for what rewards and metrics are given; rename it",
        {"d.csv": "prompt,completions\n1,x\n2,y\n"},
    ),
    "no task data": Bad(
        "train imdb-mini-ppo task.edition=full task.path=none.csv model=lm reward=dates evaluation.metrics=[] "
        "prompt.max_tokens=8",
        "none.csv: there is no such file or folder",
    ),
}

MODELS = {
    "no such model": Bad("train r.yaml model=nowhere", "model.path: cannot load 'nowhere' as a language model: ..."),
    "a file": Bad(
        "train r.yaml model=numbers.jsonl", "model.path: cannot load 'numbers.jsonl' as a language model: ..."
    ),
    "no tokenizer": Bad(
        "train r.yaml model=bare", "model.tokenizer: no tokenizer in 'bare'; name one with model.tokenizer"
    ),
    "prompts beyond the window": Bad(
        "train r.yaml prompt.max_tokens=100",
        "prompt.max_tokens 100 and max_new_tokens 4: the prompt and completion can need 104 positions, but the model "
        "has 80; "
        "lower prompt.max_tokens",
    ),
    "no such layer": Bad(
        "train r.yaml 'model.lora={target_modules: [nope]}'",
        "model.lora.target_modules: ['nope'] matches no layer: ...",
    ),
}

REWARD = {
    "unknown name": Bad(
        "train r.yaml reward=date",
        "override reward=date: reward.name: unknown reward 'date'; did you mean 'dates'? "
        "All names: rl4lms ls rewards, rl4lms ls metrics",
    ),
    "no such file": Bad("train r.yaml reward=none.py:f", "reward 'none.py:f': there is no file {here}/none.py"),
    "no such function": Bad(
        "train r.yaml reward=mine.py:zero",
        "reward 'mine.py:zero': mine.py has no function 'zero'; did you mean 'zeros'?",
    ),
    "no reward": Bad("train r.yaml reward=mine.py:NoReward", "reward 'NoReward' cannot be called on a batch"),
    "syntax error": Bad(
        "train r.yaml reward=bad.py:f",
        "reward 'bad.py:f': {here}/bad.py:1: SyntaxError: expected ':'",
        {"bad.py": "def f(completions)\n    return 1\n"},
    ),
    "missing package": Bad(
        "train r.yaml reward=bad.py:f",
        "reward 'bad.py:f': {here}/bad.py:2: ModuleNotFoundError: No module named 'no_such_package'",
        {"bad.py": "import json\nimport no_such_package\n"},
    ),
    "unknown option": Bad(
        "train r.yaml 'reward={name: mine.py:scaled, scal: 2}'",
        "reward 'mine.py:scaled', option 'scal': unknown key; did you mean 'scale'?",
    ),
    "a column that the data lacks": Bad(
        "train r.yaml reward=mine.py:by_topic",
        "reward 'by_topic' needs the data column 'topic'; there are: completion_ids, completions, "
        "full_prompts, prompt_ids, prompts, references, texts",
    ),
    "an exception": Bad(
        "train r.yaml reward=mine.py:scaled",
        "reward 'scaled' raised ZeroDivisionError: float division by zero (mine.py, line 8)",
    ),
    "not a number": Bad(
        "train r.yaml reward=mine.py:undefined",
        "reward 'undefined': row 1 is nan; rewards are finite numbers, or None to leave a row out (completion ...",
    ),
    "too few scores": Bad(
        "train r.yaml reward=mine.py:short",
        "reward 'short' returned 1 value for 4 completions",
    ),
    "a metric with several values": Bad(
        "train r.yaml reward=rouge",
        "metric 'rouge' has several values per text; choose one with the option `key`: rouge1, rouge2, rougeL, "
        "rougeLsum",
    ),
    "a metric of the policy": Bad(
        "train r.yaml reward=reference_perplexity",
        "the metric 'reference_perplexity' measures the policy itself, not its texts, and cannot be a reward",
    ),
    "no classifier": Bad(
        "train r.yaml 'reward={name: classifier, model: lm}'",
        "'lm' has no classification head, or only a part of one: it lacks score.weight; name a model that was trained "
        "as a sequence "
        "classifier, for example with `rl4lms reward train`",
    ),
}

METRICS = {
    "dry run: a path inside a reward": Bad(
        "train r.yaml --dry-run 'reward={name: scale, reward: {name: classifier, model: ./judge, label: 1}}'",
        "reward.reward.model: ./judge is not there; correct the path, or name a model or data set of the Hub",
    ),
    "dry run: a path of a metric": Bad(
        "train r.yaml --dry-run 'evaluation.metrics=[{name: perplexity, model: /none/lm}]'",
        "evaluation.metrics.0.model: /none/lm is not there; correct the path, or name a model or data set of the Hub",
    ),
    "dry run: a path of a model": Bad(
        "train r.yaml --dry-run model.path=models/to/none",
        "model.path: models/to/none is not there; correct the path, or name a model or data set of the Hub",
    ),
    "dry run: a path of a tokenizer": Bad(
        "train r.yaml --dry-run model.tokenizer=none/",
        "model.tokenizer: none/ is not there; correct the path, or name a model or data set of the Hub",
    ),
    "dry run: a path of data": Bad(
        "train r.yaml --dry-run data.test=../none",
        "data.test: ../none is not there; correct the path, or name a model or data set of the Hub",
    ),
    "unknown name": Bad(
        "evaluate run --metric ruoge",
        "override evaluation.metrics=[ruoge]: evaluation.metrics.0.name: unknown metric 'ruoge'; did you mean 'rouge'? "
        "All names: rl4lms ls metrics",
    ),
    "one key twice": Bad(
        "train r.yaml 'evaluation.metrics=[diversity, diversity]'",
        "two metrics report 'distinct-1'; leave one of them out, or rename its result where it has the option `key`",
    ),
    "no references": Bad(
        "train r.yaml data=d.jsonl evaluation.metrics=[rouge]",
        "metric 'Rouge' compares with references, and no row has any",
        {"d.jsonl": '{"prompt": "1"}\n{"prompt": "2"}\n{"prompt": "3"}\n'},
    ),
    "no such number to be best in": Bad(
        "train r.yaml checkpoint.best=eval/rewrd",
        "checkpoint.best: no evaluation key 'eval/rewrd'; there are: eval/completion_tokens, ...",
    ),
}

RUNS = {
    "a used run folder": Bad(
        "train r.yaml output_dir=run",
        "run: the run folder is not empty; add --resume (in Python: resume=True) to continue it, or name another "
        "output_dir",
    ),
    "a run folder as recipe": Bad("train run", "run is the folder of a run; add --resume to continue it"),
    "nothing to resume": Bad(
        "train r.yaml --resume", "new/run: no run to resume there (config.resolved.yaml is missing)"
    ),
    "resumed with other settings": Bad(
        "train run --resume kl.kl_coef=0.5",
        "run/checkpoints/step-000001 was written with other settings:\n  kl.kl_coef: 0.1 in the checkpoint, 0.5 now\n"
        "a run goes on with the settings and files that it began with: leave these out to continue it, or train anew in "
        "another output_dir (--output)",
    ),
    "no usable checkpoint": Bad(
        "train run --resume",
        "run/checkpoints: no checkpoint is usable, so the run cannot be continued: checkpoint step-000001 is not "
        "usable: "
        "its manifest is not JSON",
        {"run/checkpoints/step-000001/manifest.json": "torn"},
    ),
    "evaluated before its end": Bad(
        "evaluate unfinished", "unfinished: the run has no model yet; finish it with: rl4lms train unfinished --resume"
    ),
    "masked without a mask": Bad(
        "evaluate run --masked",
        "--masked decodes inside the mask that a run ended with: name the folder of a run that has one "
        "(nlpo, or a block `mask`)",
    ),
    "no such split": Bad(
        "evaluate run --split test",
        "data: there is no test split; name a file with data.test, or set data.holdout to take rows off train",
    ),
    "a folder to write to": Bad(
        "evaluate run --split validation --output lm", "--output lm: this is a folder; name a file"
    ),
    "other prompts for a run": Bad(
        "evaluate run --data none.jsonl",
        "--data none.jsonl: run is a run, which has prompts of its own; write data.test=none.jsonl instead; the model "
        "alone, without this run's reward, decoding and KL: rl4lms "
        "evaluate run/model --data none.jsonl",
    ),
    "a task for a recipe": Bad(
        "evaluate r.yaml --task imdb",
        "--task imdb: r.yaml is a recipe, which has prompts of its own; write rl4lms evaluate lm --task imdb",
    ),
    "a split of one file": Bad(
        "evaluate lm --data numbers.jsonl --split train",
        "--split train: numbers.jsonl is one file, and all of it is evaluated; leave --split out",
    ),
    "evaluated with sampling that is not used": Bad(
        "evaluate g.yaml --split validation rollout.top_p=0.9",
        "override rollout.top_p=0.9: evaluations of this recipe decode by evaluation.generation, where top_p is 0.5; "
        "write evaluation.generation.top_p=0.9",
        {"g.yaml": RECIPE.replace("prompts: 4,", "prompts: 4, generation: {top_p: 0.5},")},
    ),
    "evaluated with several completions of the training": Bad(
        "evaluate run rollout.completions_per_prompt=2",
        "override rollout.completions_per_prompt=2: an evaluation does not read it; write "
        "evaluation.generation.completions_per_prompt=2",
    ),
    "evaluated with settings of the training": Bad(
        "evaluate run kl.kl_coef=1",
        "override kl.kl_coef=1: an evaluation does not read kl.kl_coef, but seed, device, model, task, data, prompt, "
        "reward, reward_faults, rollout and evaluation; leave it out",
    ),
    "evaluated with an algorithm": Bad(
        "evaluate run algorithm.n_epochs=2",
        "override algorithm.n_epochs=2: an evaluation reads nothing of the algorithm but mask_top_p and "
        "min_tokens_to_keep with --masked; leave it out",
    ),
    "evaluated on another split": Bad(
        "evaluate run evaluation.split=train",
        "override evaluation.split=train: the evaluation of a run takes the split from its option; write --split train",
    ),
    "evaluated on a file of another split": Bad(
        "evaluate run data.train=numbers.jsonl data.validation=none.jsonl",
        "override data.validation=none.jsonl: the test split is evaluated; add --split validation, or set data.test",
    ),
    "evaluated more often": Bad(
        "evaluate run evaluation.every=5",
        "override evaluation.every=5: it says what a training does; an evaluation reads evaluation.prompts, "
        "evaluation.prompt_seed, evaluation.metrics, evaluation.generation, evaluation.on_training_data only",
    ),
    "evaluated inside the mask by a setting": Bad(
        "evaluate run 'evaluation={generation: {mask: true}}'",
        "override evaluation={generation: {mask: true}}: to decode inside the mask of a run, write --masked",
    ),
    "a run with another model": Bad(
        "evaluate run model.path=lm",
        "override model.path=lm: the model that the run trained is evaluated; for another one, name it or its recipe "
        "instead of the run",
    ),
    "a model with another model": Bad(
        "evaluate lm --data numbers.jsonl model.path=bare",
        "override model.path=bare: the model to evaluate is the first argument; name it there",
    ),
    "a file in no folder": Bad(
        "evaluate run --split validation --output none/x.json",
        "--output none/x.json: there is no folder none; make it, or name another file",
    ),
    "a corpus that no metric takes": Bad(
        "metrics score numbers.jsonl --completion-column prompt --metric rouge --corpus numbers.jsonl",
        "--corpus numbers.jsonl: none of these metrics takes statistics from it; leave it out",
    ),
    "a plain file of references that is too short": Bad(
        "metrics score out.txt --metric rouge --references gold.txt",
        "gold.txt has 1 texts and out.txt 2; they belong together line by line, so their numbers must be the same",
        files={"out.txt": "a\nb\n", "gold.txt": "a\n"},
    ),
    "two systems of different length": Bad(
        "metrics score numbers.jsonl out.txt --completion-column prompt --metric rouge",
        "numbers.jsonl has 16 rows and out.txt 1; give rows an `id`, or different prompts, to say which belong together",
        files={"out.txt": "a\n"},
    ),
    "scores in no folder": Bad(
        "metrics score numbers.jsonl --metric rouge --output none/x.json",
        "--output none/x.json: there is no folder none; make it, or name another file",
    ),
    "a model without prompts": Bad(
        "evaluate lm", "lm is taken for a model: say what to evaluate it on with either --task NAME or --data FILE"
    ),
    "an unknown task": Bad(
        "evaluate lm --task imdbb", "<arguments>: task.name: unknown task 'imdbb'; did you mean 'imdb'?"
    ),
}

OTHERS = {
    "generate: no such model": Bad("generate nowhere 1", "model.path: cannot load 'nowhere' as a language model: ..."),
    "generate: prompts twice": Bad(
        "generate lm 1 --file numbers.jsonl", "prompts were given both as arguments and with --file; choose one"
    ),
    "generate: no such file": Bad("generate lm --file none.txt", "none.txt: cannot be read: No such file or directory"),
    "generate: no prompts": Bad(
        "generate lm",
        "there are no prompts: give texts as arguments, a file with --file, or lines on standard input, such as: rl4lms "
        'generate MODEL "a text"',
        stdin=b"\n\n",
    ),
    "generate: Latin-1": Bad(
        "generate lm --file p.txt",
        "p.txt:2: not UTF-8 text (byte 0xe9); data files are read as UTF-8, so save it as UTF-8",
        {"p.txt": b"1\ncaf\xe9\n"},
    ),
    "generate: Latin-1 on standard input": Bad(
        "generate lm",
        "standard input: not UTF-8 text; convert it, such as: iconv -f LATIN1 -t UTF-8",
        stdin=b"caf\xe9\n",
    ),
    "generate: no column prompt": Bad(
        "generate lm --file p.jsonl",
        "p.jsonl:1: no text and no list of messages in a column 'prompt'",
        {"p.jsonl": '{"text": "1"}\n'},
    ),
    "generate: beyond the window": Bad(
        "generate lm 1 --max-new-tokens 80",
        "--max-new-tokens 80: the model has 80 positions for prompt and completion together; ask for fewer",
    ),
    "generate: no token left": Bad("generate lm 1 --top-p 0", "--top-p: should be greater than 0, got 0.0"),
    "reward train: no such file": Bad(
        "reward train --base lm --train none.csv --output out",
        f"none.csv: no such file; data files end in {ENDS}, anything else is a Hub id",
    ),
    "reward train: no such column": Bad(
        "reward train --base lm --train l.csv --output out --label-column stars",
        "l.csv:2: no column 'stars'; there are: text, label",
        {"l.csv": "text,label\na,1\nb,0\n"},
    ),
    "reward train: a single label": Bad(
        "reward train --base lm --train l.csv --output out",
        "l.csv: every row has the label '1'; a classifier needs at least two",
        {"l.csv": "text,label\na,1\nb,1\n"},
    ),
    "reward train: names for other labels": Bad(
        "reward train --base lm --train l.csv --output out --label-names bad,fair,good",
        "l.csv has the labels 0, 1, but 3 label names were given: bad, fair, good",
        {"l.csv": "text,label\na,1\nb,0\n"},
    ),
    "reward train: a used folder": Bad(
        "reward train --base lm --train l.csv --output run",
        "run: the folder is not empty; name another --output",
        {"l.csv": "text,label\na,1\nb,0\n"},
    ),
    "reward train: no training": Bad(
        "reward train --base lm --train l.csv --output out --epochs 0",
        "epochs: should be a number greater than 0, got 0",
        {"l.csv": "text,label\na,1\nb,0\n"},
    ),
    "demo: a file": Bad("demo --output r.yaml", "r.yaml is a file; name a folder with --output"),
    "demo: an earlier demo": Bad(
        "demo --output demo",
        "demo: there is a demo already; add --force to replace it, or name another folder with --output",
        {"demo/report.html": "", "demo/results.json": "{}"},
    ),
    "show: unknown name": Bad("show nlp", "unknown name 'nlp'; did you mean 'nlpo'? All names: rl4lms ls"),
    "doctor: no such recipe": Bad("doctor missing.yaml", "missing.yaml: cannot be read: No such file or directory"),
}
FILES = {
    "of a reward": Bad("train r.yaml reward=broken.py:f", f"reward 'broken.py:f': {REASON}", BROKEN),
    "of a metric": Bad("train r.yaml 'evaluation.metrics=[broken.py:f]'", f"metric 'broken.py:f': {REASON}", BROKEN),
    "of an algorithm": Bad("train r.yaml algorithm=broken.py:F", f"algorithm 'broken.py:F': {REASON}", BROKEN),
    "of a task": Bad(
        "train r.yaml data=null task=broken.py:F", f"override task=broken.py:F: task 'broken.py:F': {REASON}", BROKEN
    ),
    "no such metric": Bad(
        "train r.yaml 'evaluation.metrics=[mine.py:zero]'",
        "metric 'mine.py:zero': mine.py has no function 'zero'; did you mean 'zeros'?",
    ),
    "no such algorithm": Bad(
        "train r.yaml algorithm=yours.py:F", "algorithm 'yours.py:F': there is no file {here}/yours.py"
    ),
}
TABLES = {
    "recipes": RECIPES,
    "overrides": OVERRIDES,
    "data": DATA,
    "models": MODELS,
    "rewards": REWARD,
    "metrics": METRICS,
    "runs": RUNS,
}
TABLES |= {"files": FILES, "others": OTHERS}
ROWS = [pytest.param(bad, id=f"{table}: {name}") for table, rows in TABLES.items() for name, bad in rows.items()]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every command finds."""
    folder = tmp_path_factory.mktemp("stage")
    save_tiny(folder / "lm", "gpt2")
    shutil.copytree(folder / "lm", folder / "bare", ignore=shutil.ignore_patterns("token*", "special*"))
    number_prompts(folder / "numbers.jsonl", rows=16)
    (folder / "r.yaml").write_text(RECIPE)
    (folder / "mine.py").write_text(REWARDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(app, ["train", "r.yaml", "output_dir=run", "--quiet"])
    assert done.exit_code == 0, done.output
    shutil.copytree(folder / "run", folder / "unfinished", ignore=shutil.ignore_patterns("model", "result.json"))
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder, with what is in it."""
    files = {
        path: path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }
    return {str(path.relative_to(folder)): hashlib.sha256(content).hexdigest() for path, content in files.items()}


@pytest.mark.parametrize("bad", ROWS)
def test_one_plain_message_and_nothing_written(bad, stage, tmp_path, monkeypatch):
    here = tmp_path / "here"
    shutil.copytree(stage, here)
    for name, content in bad.files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.chdir(here)
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    before = contents(here)
    result = CliRunner().invoke(app, shlex.split(bad.words), input=bad.stdin)
    assert (result.exit_code, result.stdout) == (2, "")
    expected = "error: " + bad.message.replace("{here}", str(here))
    if expected.endswith("..."):
        assert result.stderr.startswith(expected.removesuffix("..."))
        assert result.stderr.count("\n") == 1
    else:
        assert result.stderr == expected + "\n"
    assert contents(here) == before


def test_a_run_that_failed_at_its_start_can_be_started_again(stage, tmp_path, monkeypatch):
    here = tmp_path / "here"
    shutil.copytree(stage, here)
    monkeypatch.chdir(here)
    assert CliRunner().invoke(app, ["train", "r.yaml", "reward=mine.py:short"]).exit_code == 2
    result = CliRunner().invoke(app, ["train", "r.yaml", "reward=mine.py:zeros", "--quiet"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads((here / "new" / "run" / "result.json").read_text())["eval"]["eval/reward"]["mean"] == 0


def test_a_dry_run_says_which_names_were_not_checked(stage, monkeypatch):
    monkeypatch.chdir(stage)
    result = CliRunner().invoke(app, ["train", "r.yaml", "--dry-run", "model.path=owner/name"])
    assert result.exit_code == 0
    assert "not checked" in result.stdout
    assert "model.path: owner/name (not here; looked up on the Hub when it is loaded)" in result.stdout
    whole = CliRunner().invoke(app, ["train", "r.yaml", "--dry-run"])
    assert (whole.exit_code, "not checked" in whole.stdout) == (0, False)


def test_there_are_many_examples():
    assert len(ROWS) >= 30
    assert all(bad.values[0].message for bad in ROWS)
