"""Recipes from YAML: what is understood, and the exact message for everything that is not."""

from __future__ import annotations

import pytest

from rl4lms.config import read_recipe
from rl4lms.config.reader import read_file, read_text, resolve_plain
from rl4lms.errors import ConfigError
from rl4lms.plugins import registry


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Messages name the file as given, so tests use a short relative name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOLDER", "some/folder")
    monkeypatch.setenv("SNEAKY", "${FOLDER}")
    monkeypatch.setenv("LONG", "x" * 4000)
    monkeypatch.delenv("UNSET", raising=False)


@pytest.fixture(autouse=True)
def _a_reward(monkeypatch):
    def brevity(completions, *, target_words: int = 20, **columns):
        return [0.0] * len(completions)

    monkeypatch.setattr(registry.rewards, "_entries", dict(registry.rewards._entries))
    registry.rewards.register("brevity", brevity)


def read(text: str | bytes, *overrides: str):
    with open("r.yaml", "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return read_recipe("r.yaml", overrides)


HEAD = "model: gpt2\ndata: train.jsonl\n"

NOT_YAML = {
    "empty file": (b"", "r.yaml:1: is empty"),
    "only comments": (b"# nothing\n", "r.yaml:1: is empty"),
    "null document": (b"---\n", "r.yaml:1: the file must hold `key: value` lines, got null"),
    "list at the root": (b"- a\n- b\n", 'r.yaml:1: the file must hold `key: value` lines, got ["a", "b"]'),
    "text at the root": (b"hello\n", 'r.yaml:1: the file must hold `key: value` lines, got "hello"'),
    "UTF-16": ("model: gpt2\n".encode("utf-16"), "r.yaml:1: the file is saved with UTF-16; save it as plain UTF-8"),
    "UTF-16 without a mark": (
        "model: gpt2\n".encode("utf-16-le"),
        "r.yaml:1: NUL bytes: this is not a UTF-8 text file",
    ),
    "byte-order mark": (
        b"\xef\xbb\xbfmodel: gpt2\n",
        "r.yaml:1: the file is saved with a byte-order mark; save it as plain UTF-8",
    ),
    "Latin-1": ("model: gpt2\nname: café\n".encode("latin-1"), "r.yaml:2: not UTF-8 text (byte 0xe9)"),
    "NUL byte": (b"model: gpt2\nname: a\0b\n", "r.yaml:2: NUL bytes: this is not a UTF-8 text file"),
    "control character": (b"model: gpt2\nname: a\x07b\n", "r.yaml:2: character #x0007 is not allowed"),
    "too large": (b"#" * (2**20 + 1), "r.yaml: larger than 1048576 bytes: this is not a recipe"),
    "tab": (b"model:\n\tpath: gpt2\n", "r.yaml:2: not YAML: a tab in the indentation; use spaces"),
    "unclosed bracket": (b"model: [gpt2\n", "r.yaml:2: not YAML: expected ',' or ']', but got '<stream end>'"),
    "colon twice": (b"model: gpt2: large\n", "r.yaml:1: not YAML: mapping values are not allowed here"),
    "two documents": (
        b"model: gpt2\n---\nmodel: gpt2\n",
        "r.yaml:2: a second document (`---`) starts here; one file holds one recipe",
    ),
    "duplicate key": (b"seed: 1\nmodel: gpt2\nseed: 2\n", "r.yaml:3: seed: set twice, first at r.yaml:1"),
    "nested duplicate key": (
        b"kl:\n  kl_coef: 1\n  kl_coef: 2\n",
        "r.yaml:3: kl.kl_coef: set twice, first at r.yaml:2",
    ),
    "duplicate key in flow": (b"kl: {a: 1, a: 2}\n", "r.yaml:1: kl.a: set twice, first at r.yaml:1"),
    "anchor": (b"model: &m gpt2\n", "r.yaml:1: model: anchors (`&name`) are not allowed"),
    "anchor on a mapping": (b"kl: &k\n  kl_coef: 1\n", "r.yaml:1: kl: anchors (`&name`) are not allowed"),
    "alias": (b"model: gpt2\nname: *m\n", "r.yaml:2: name: aliases (`*name`) are not allowed; write the value again"),
    "alias as key": (b"*m : gpt2\n", "r.yaml:1: aliases (`*name`) are not allowed; write the value again"),
    "python tag": (b"model: !!python/object/apply:os.system [ls]\n", "r.yaml:1: model: tags (`!name`) are not allowed"),
    "standard tag": (b"seed: !!int '3'\n", "r.yaml:1: seed: tags (`!name`) are not allowed"),
    "number as key": (b"kl:\n  1: 2\n", "r.yaml:2: kl: the key 1 is not text; quote it"),
    "list as key": (b"? [a]\n: 1\n", "r.yaml:1: a key must be text, not a list or a mapping"),
    "deep nesting": (b"model: " + b"[" * 100_000, "r.yaml:1: model.0.0: nested more than 20 levels deep"),
    "too many values": (
        b"a: [" + b"1, " * 20_000 + b"]\n",
        "r.yaml:1: a.9998: more than 10,000 values: this is not a recipe",
    ),
    "long integer": (b"seed: " + b"9" * 5000, "r.yaml:1: seed: an integer of 5000 characters does not fit in 64 bits"),
    "large integer": (b"seed: 9223372036854775808\n", "r.yaml:1: seed: the integer does not fit in 64 bits"),
    "infinity": (b"kl: {kl_coef: .inf}\n", "r.yaml:1: kl.kl_coef: .inf is not a finite number"),
    "overflow": (b"kl: {kl_coef: 1e999}\n", "r.yaml:1: kl.kl_coef: not a finite number (quote it if it is text)"),
    "NUL escape": (b'name: "a\\0b"\n', "r.yaml:1: name: text may not contain NUL characters"),
    "surrogate escape": (b'name: "\\ud800"\n', "r.yaml:1: name: text may not contain lone surrogates"),
    "impossible escape": (b'name: "\\UFFFFFFFF"\n', "r.yaml:1: not YAML: "),
    "directive": (
        b"%YAML 9.1\n---\nmodel: gpt2\n",
        "r.yaml:1: not YAML: found incompatible YAML document (version 1.* is required)",
    ),
}


@pytest.mark.parametrize(("text", "message"), NOT_YAML.values(), ids=NOT_YAML)
def test_what_is_not_strict_yaml_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(message) if message.endswith(": ") else str(caught.value) == message
    assert "\n" not in str(caught.value)


WRONG = {
    "unknown key": ("data: a.jsonl\nmodle: gpt2\n", "r.yaml:2: modle: unknown key; did you mean 'model'?"),
    "unknown nested key": (
        HEAD + "rollout:\n  max_tokens: 3\n",
        "r.yaml:4: rollout.max_tokens: unknown key; did you mean 'max_new_tokens'?",
    ),
    "unknown key in an optional block": (
        "data: a.jsonl\nmodel:\n  path: gpt2\n  lora:\n    dropout: 3\n",
        "r.yaml:5: model.lora.dropout: unknown key; known: alpha, r, target_modules",
    ),
    "unknown algorithm": (
        HEAD + "algorithm: pppo\n",
        "r.yaml:3: algorithm.name: unknown algorithm 'pppo'; did you mean 'ppo'?",
    ),
    "unknown option of an algorithm": (
        HEAD + "algorithm:\n  name: nlpo\n  clip_rnage: 0.1\n",
        "r.yaml:5: algorithm.clip_rnage: unknown key; did you mean 'clip_range'?",
    ),
    "unknown option of a function": (
        HEAD + "reward:\n  name: brevity\n  target: 3\n",
        "r.yaml:5: reward.target: unknown key; did you mean 'target_words'?",
    ),
    "unknown metric": (
        HEAD + "evaluation:\n  metrics:\n    - diversity\n    - name: ruoge\n",
        "r.yaml:6: evaluation.metrics.1.name: unknown metric 'ruoge'; did you mean 'rouge'? All names: rl4lms ls metrics",
    ),
    "unknown task": ("model: gpt2\ntask: imdbb\n", "r.yaml:2: task.name: unknown task 'imdbb'; did you mean 'imdb'?"),
    "component without name": (HEAD + "algorithm:\n  n_epochs: 1\n", "r.yaml:3: algorithm.name: is required"),
    "component of another type": (HEAD + "reward: 5\n", "r.yaml:3: reward: should be a mapping, got 5"),
    "text for a number": (HEAD + "seed: one\n", 'r.yaml:3: seed: should be a whole number, got "one"'),
    "quoted number": (HEAD + "seed: '1'\n", 'r.yaml:3: seed: should be a whole number, got "1"'),
    "fraction for an integer": (HEAD + "seed: 1.0\n", "r.yaml:3: seed: should be a whole number, got 1.0"),
    "boolean for a number": (HEAD + "kl: {kl_coef: true}\n", "r.yaml:3: kl.kl_coef: should be a number, got true"),
    "yes for true": (
        HEAD + "tracking:\n  progress: yes\n",
        'r.yaml:4: tracking.progress: should be true or false, got "yes"',
    ),
    "number for text": (HEAD + "name: 1e-6\n", "r.yaml:3: name: should be text (quote it), got 1e-06"),
    "text in a list of numbers": (
        HEAD + "optimizer:\n  betas:\n    - 0.9\n    - x\n",
        'r.yaml:6: optimizer.betas.1: should be a number, got "x"',
    ),
    "scalar for a block": (HEAD + "kl: 3\n", "r.yaml:3: kl: should be a mapping, got 3"),
    "list for a block": (HEAD + "kl: [3]\n", "r.yaml:3: kl: should be a mapping, got [3]"),
    "scalar for a list of numbers": (
        HEAD + "optimizer:\n  betas: 0.9\n",
        "r.yaml:4: optimizer.betas: should be a list, got 0.9",
    ),
    "one wrong value for a list of texts": (
        HEAD + "rollout:\n  stop: 5\n",
        "r.yaml:4: rollout.stop: should be text (quote it), got 5",
    ),
    "out of range": (
        HEAD + "kl:\n  kl_coef: -1\n",
        "r.yaml:4: kl.kl_coef: should be greater than or equal to 0, got -1",
    ),
    "not among the choices": (
        HEAD + "device: gpu\n",
        "r.yaml:3: device: should be 'auto', 'cpu', 'cuda' or 'mps', got \"gpu\"",
    ),
    "neither of two types": (
        "data: a.jsonl\nmodel: {path: gpt2, lora: {target_modules: 5}}\n",
        "r.yaml:2: model.lora.target_modules: should be text (quote it) or should be 'all-linear', got 5",
    ),
    "null": (HEAD + "seed: null\n", "r.yaml:3: seed: should be a whole number, got null"),
    "two settings at odds": (
        HEAD + "rollout:\n  min_new_tokens: 100\n",
        "r.yaml:3: rollout: min_new_tokens (100) is larger than max_new_tokens (48)",
    ),
    "missing model": ("# first\ndata: a.jsonl\n", "r.yaml:2: model: is required"),
    "no prompts": (
        "model: gpt2\n",
        "r.yaml:1: name exactly one of `task` and `data`: they say where prompts come from, such as `task: imdb` or "
        "`data: prompts.jsonl` (as options: --task imdb, --data prompts.jsonl)",
    ),
    "unset variable": (
        HEAD + "output_dir: ${UNSET}/x\n",
        "r.yaml:3: output_dir: the environment variable UNSET is not set",
    ),
    "lower-case variable": (
        HEAD + "output_dir: ${unset}\n",
        'r.yaml:3: output_dir: "${unset}": only ${NAME} with an upper-case name is understood',
    ),
    "variable with a default": (
        HEAD + "output_dir: ${FOLDER:-x}\n",
        'r.yaml:3: output_dir: "${FOLDER:-x}": only ${NAME} with an upper-case name is understood',
    ),
    "unclosed variable": (
        HEAD + "output_dir: ${FOLDER\n",
        'r.yaml:3: output_dir: "${FOLDER": only ${NAME} with an upper-case name is understood',
    ),
    "variable that holds a variable": (
        HEAD + "output_dir: ${SNEAKY}\n",
        "r.yaml:3: output_dir: the environment variable SNEAKY holds '${' itself",
    ),
    "variable where a number belongs": (
        HEAD + "seed: ${FOLDER}\n",
        'r.yaml:3: seed: should be a whole number, got "some/folder"',
    ),
    "much from the environment": (
        HEAD + "name: '" + "${LONG}" * 300 + "'\n",
        "r.yaml:3: name: more than 1,048,576 characters come from the environment",
    ),
    "too many items": (
        HEAD + "optimizer: {betas: [0.9, 0.9, 0.9]}\n",
        "r.yaml:3: optimizer.betas: should have at most 2 items, got [0.9, 0.9, 0.9]",
    ),
    "long name": (
        HEAD + f"algorithm: {'x' * 999}\n",
        f"r.yaml:3: algorithm.name: unknown algorithm '{'x' * 57}...'; known: a2c, bandit_ppo, cispo, "
        "expert_iteration, grpo, gspo, nlpo, ppo, reinforce, rloo, trpo",
    ),
    "unprintable text": (
        HEAD + 'device: "\\x85\\u2028\\u202e"\n',
        "r.yaml:3: device: should be 'auto', 'cpu', 'cuda' or 'mps', got \"\\x85\\u2028\\u202e\"",
    ),
    "odd key": (
        HEAD + '"a b\\n": 1\n',
        r'r.yaml:3: "a b\n": unknown key; known: algorithm, checkpoint, data, device, evaluation, kl, ',
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_not_a_recipe_is_refused_with_file_line_and_key(text, message):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(message) if message.endswith(", ") else str(caught.value) == message
    assert str(caught.value).isprintable()


OVERRIDES = {
    "rollout.top_p": "override rollout.top_p: write it as key.path=value",
    "=1": "override =1: write it as key.path=value",
    "a..b=1": "override a..b=1: write it as key.path=value",
    "seed=": "override seed=: no value; write '' for empty text and null for nothing",
    "seed=x": 'override seed=x: should be a whole number, got "x"',
    "sead=1": "override sead=1: unknown key; did you mean 'seed'?",
    "kl={kl_coef: -1}": "override kl={kl_coef: -1}: kl.kl_coef: should be greater than or equal to 0, got -1",
    "kl=[": "override kl=[: not YAML: expected the node content, but found '<stream end>'",
    "kl=&a 1": "override kl=&a 1: anchors (`&name`) are not allowed",
    "seed.x=1": "override seed.x=1: seed is 7, it has no 'x'",
    "seed.x.y=1": "override seed.x.y=1: seed is 7, it has no 'x'",
    "evaluation.metrics.1=rouge": "override evaluation.metrics.1=rouge: evaluation.metrics is a list of 1, it has no "
    "'1'",
    "evaluation.metrics.-1=rouge": "override evaluation.metrics.-1=rouge: evaluation.metrics is a list of 1, it has "
    "no '-1'",
    "evaluation.metrics.0000000001=rouge": (
        "override evaluation.metrics.0000000001=rouge: evaluation.metrics is a list of 1, it has no '0000000001'"
    ),
    "seed=|\n  x": 'override seed=|\\n  x: should be a whole number, got "x"',
    f"seed={'9' * 5000}": f"override seed={'9' * 57}...: an integer of 5000 characters does not fit in 64 bits",
    f"{'x' * 5000}=1": f"override {'x' * 57}...=1: unknown key; known: algorithm, checkpoint, data, device, "
    f"evaluation, kl, ",
    "evaluation.metrics.x=rouge": "override evaluation.metrics.x=rouge: evaluation.metrics is a list of 1, it has no "
    "'x'",
    "prompt.x.0=y": "override prompt.x.0=y: the recipe has no list prompt.x; set the whole list",
    "reward.target_words=few": 'override reward.target_words=few: should be a whole number, got "few"',
    "evaluation.metrics.0.name=ruoge": "override evaluation.metrics.0.name=ruoge: unknown metric 'ruoge'; did you "
    "mean 'rouge'? All names: rl4lms ls metrics",
    "output_dir=${UNSET}": "override output_dir=${UNSET}: the environment variable UNSET is not set",
}


@pytest.mark.parametrize(("override", "message"), OVERRIDES.items(), ids=OVERRIDES)
def test_wrong_overrides_are_refused_by_name(override, message):
    with pytest.raises(ConfigError) as caught:
        read(HEAD + "seed: 7\nreward: brevity\nevaluation: {metrics: [diversity]}\n", override)
    assert str(caught.value).startswith(message) if message.endswith(", ") else str(caught.value) == message


def test_overrides_apply_in_order_and_reach_into_short_forms_and_lists():
    recipe = read(
        HEAD + "reward: brevity\nevaluation: {metrics: [diversity, rouge]}\n",
        "reward.target_words=5",
        "model.lora.r=4",
        "data.holdout=10",
        "evaluation.metrics.0=rouge",
        "algorithm=nlpo",
        "algorithm.mask_top_p=.5",
        "seed=1",
        "seed=2",
        "prompt.prefix=''",
        "output_dir=${FOLDER}/x",
        "rollout = {top_p: 0.5}",
    )
    assert (recipe.reward.name, recipe.reward.options) == ("brevity", {"target_words": 5})
    assert (recipe.model.path, recipe.model.lora.r) == ("gpt2", 4)
    assert (recipe.data.train, recipe.data.holdout) == ("train.jsonl", 10)
    assert [metric.name for metric in recipe.evaluation.metrics] == ["rouge", "rouge"]
    assert (recipe.algorithm.name, recipe.algorithm.options["mask_top_p"], recipe.algorithm.options["n_epochs"]) == (
        "nlpo",
        0.5,
        4,
    )
    assert recipe.seed == 2
    assert recipe.output_dir == "some/folder/x"
    assert recipe.rollout.top_p == 0.5


def test_the_line_is_that_of_the_override_even_under_a_block_of_the_file():
    with pytest.raises(ConfigError, match=r"^r.yaml:4: rollout.top_k: "):
        read(HEAD + "rollout:\n  top_k: x\n", "rollout.top_p=0.5")
    with pytest.raises(ConfigError, match=r"^override rollout.top_p=5: should be less"):
        read(HEAD + "rollout:\n  top_k: 3\n", "rollout.top_p=5")


def test_short_forms_and_environment_variables():
    recipe = read(
        "model: ${FOLDER}/gpt2\ndata: a${FOLDER}-${FOLDER}.jsonl\nname: $FOLDER\n".replace("name: $FOLDER\n", "")
    )
    assert recipe.model.path == "some/folder/gpt2"
    assert recipe.data.train == "asome/folder-some/folder.jsonl"
    assert read(HEAD + "prompt: {prefix: costs $5 or $FOLDER}\n").prompt.prefix == "costs $5 or $FOLDER"


def test_numbers_booleans_and_text_follow_yaml_1_2():
    recipe = read(
        HEAD + "optimizer: {learning_rate: 1e-6}\nkl: {kl_coef: 1}\nprompt: {prefix: on, suffix: 2024-01-01}\n"
    )
    assert recipe.optimizer.learning_rate == 1e-6
    assert recipe.kl.kl_coef == 1.0
    assert (recipe.prompt.prefix, recipe.prompt.suffix) == ("on", "2024-01-01")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6), ("1E5", 1e5), ("-.5", -0.5), ("+3", 3), ("3.", 3.0), ("010", 10), ("0x1F", 31), ("0o17", 15),
        ("true", True), ("False", False), ("NULL", None), ("~", None), ("", None),
        ("yes", "yes"), ("Off", "Off"), ("tRue", "tRue"), ("1_000", "1_000"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"),
        ("0b1", "0b1"), ("1e", "1e"), (".", "."), ("e5", "e5"), ("-", "-"), ("=", "="), ("<<", "<<"), ("٣", "٣"), ("1\n", "1\n"),
    ],
)  # fmt: skip
def test_plain_scalars(text, value):
    assert resolve_plain(text) == value
    assert type(resolve_plain(text)) is type(value)


def test_every_value_knows_its_line(tmp_path):
    (tmp_path / "x.yaml").write_text("a:\n  b: 1\n\n  c:\n    - 2\n    - d: 3\ne: {f: 4}\n")
    tree, where = read_file(tmp_path / "x.yaml")
    assert tree == {"a": {"b": 1, "c": [2, {"d": 3}]}, "e": {"f": 4}}
    lines = {path: int(place.rpartition(":")[2]) for path, place in where.items()}
    assert lines == {
        (): 1, ("a",): 1, ("a", "b"): 2, ("a", "c"): 4, ("a", "c", 0): 5, ("a", "c", 1): 6, ("a", "c", 1, "d"): 6, ("e",): 7, ("e", "f"): 7,
    }  # fmt: skip


def test_files_that_cannot_be_read():
    with pytest.raises(ConfigError, match=r"^missing.yaml: cannot be read: No such file or directory$"):
        read_recipe("missing.yaml")
    with pytest.raises(ConfigError, match=r"^\.: cannot be read: Is a directory$"):
        read_recipe(".")
    with pytest.raises(ConfigError, match="cannot be read: embedded null byte"):
        read_recipe("a\0b")


def test_quoted_keys_and_values_are_text():
    assert read_text('{"1": "2", \'true\': "null"}', "x")[0] == {"1": "2", "true": "null"}
