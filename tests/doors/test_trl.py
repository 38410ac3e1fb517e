"""TRL's trainers, reward functions, data and configs against this library."""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase, TrainingArguments

import rl4lms
from rl4lms.config.data import DataConfig
from rl4lms.data.files import FileTask
from rl4lms.rewards import as_trl_reward, score
from tests.cli.test_cli import call
from tests.tiny import chat_tokenizer, number_tokenizer, tiny_lm
from tests.trl_tables import arguments

pytestmark = pytest.mark.doors
trl = pytest.importorskip("trl", reason="trl is not installed: make test-doors")
datasets = pytest.importorskip("datasets")

TRAINERS = {"grpo": ("GRPOTrainer", "GRPOConfig"), "rloo": ("RLOOTrainer", "RLOOConfig")}
#: The last version with PPO that is compared; `make test-door-trl` fetches its wheel beside the environment.
OLD = "trl-0.24.0-py3-none-any.whl"


def rows(chat: bool, number: int = 8) -> list[dict[str, Any]]:
    texts = [f"{i} {i + 1}" for i in range(number)]
    prompts = [[{"role": "user", "content": text}] for text in texts] if chat else texts
    return [{"prompt": prompt, "references": [f"{i} 3 4"]} for i, prompt in enumerate(prompts)]


def tokenizer_of(chat: bool) -> PreTrainedTokenizerBase:
    made = chat_tokenizer() if chat else number_tokenizer()
    made.padding_side = "left"
    return made


def trained(which: str, reward: Callable[..., Any], folder: Path, chat: bool) -> Any:
    """Two steps of a trainer of TRL's on a tiny model."""
    trainer, config = (getattr(trl, name) for name in TRAINERS[which])
    tokenizer = tokenizer_of(chat)
    args = config(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=6,
        max_steps=2,
        learning_rate=1e-2,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    tiny_lm("gpt2", vocab_size=len(tokenizer)).save_pretrained(folder / "lm")
    made = trainer(
        model=str(folder / "lm"),  # RLOO loads its reference from there
        reward_funcs=reward,
        args=args,
        train_dataset=datasets.Dataset.from_list(rows(chat)),
        processing_class=tokenizer,
    )
    made.train()
    return made


@pytest.mark.parametrize("chat", [False, True], ids=["texts", "conversations"])
@pytest.mark.parametrize("which", TRAINERS)
def test_a_metric_of_ours_trains_in_its_trainer(tmp_path: Path, which: str, chat: bool) -> None:
    metric = as_trl_reward("rouge", key="rouge1")
    calls: list[tuple[list[Any], list[Any], list[float | None]]] = []

    def rouge(**given: Any) -> list[float | None]:
        values = metric(**given)
        calls.append((given["completions"], given["references"], values))
        return values

    before = tiny_lm("gpt2", vocab_size=len(tokenizer_of(chat))).state_dict()
    trainer = trained(which, rouge, tmp_path, chat)
    assert trainer.state.global_step == 2
    after = trainer.model.state_dict()
    assert any(not torch.equal(before[key], after[key].cpu()) for key in before)
    values = [value for _, _, given in calls for value in given]
    assert len(set(values)) > 1  # else no gradient came from it
    for completions, references, given in calls:
        texts = [text if isinstance(text, str) else text[0]["content"] for text in completions]
        assert given == [pytest.approx(overlap(t, r[0]), abs=1e-9) for t, r in zip(texts, references, strict=True)]
    logged = [line["rewards/rouge/mean"] for line in trainer.state.log_history if "rewards/rouge/mean" in line]
    assert logged == [pytest.approx(sum(given) / len(given), abs=1e-6) for _, _, given in calls]  # type: ignore[arg-type]


def overlap(text: str, reference: str) -> float:
    """ROUGE-1 F of two texts of numbers, by hand."""
    said, gold = text.lower().split(), reference.split()
    said = [word for word in "".join(c if c.isalnum() else " " for c in " ".join(said)).split()]
    common = sum(min(said.count(word), gold.count(word)) for word in set(said))
    return 0.0 if not common else 2 * common / (len(said) + len(gold))


@pytest.mark.parametrize("chat", [False, True], ids=["texts", "conversations"])
def test_our_recipes_call_a_reward_as_its_trainer_does(tmp_path: Path, chat: bool) -> None:
    """The same names, and values of the same form."""
    seen: list[dict[str, Any]] = []

    def reward(
        prompts: Any, completions: Any, completion_ids: Any, trainer_state: Any, log_extra: Any, **kwargs: Any
    ) -> list[float]:
        log_extra("n", [len(ids) for ids in completion_ids])
        given = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids, **kwargs}
        seen.append(given | {"trainer_state": trainer_state, "log_extra": log_extra})
        return [float(len(ids)) for ids in completion_ids]

    trained("grpo", reward, tmp_path, chat)
    theirs = seen[0]
    seen.clear()
    tokenizer = tokenizer_of(chat)
    rl4lms.train(
        tiny_lm("gpt2", vocab_size=len(tokenizer)),
        tokenizer=tokenizer,
        data=rows(chat) * 4,
        reward=reward,
        algorithm="grpo",
        prompt={"max_tokens": 16},
        rollout={"completions_per_prompt": 4, "max_new_tokens": 6},
        training={"iterations": 1, "prompts_per_iteration": 2},
        evaluation={"every": 0, "prompts": 2, "on_training_data": True},
        output_dir=str(tmp_path / "run"),
        progress=False,
    )
    ours = next(given for given in seen if len(given["completions"]) == 8)
    not_ours = {"environments", "log_metric"}  # of its agents; log_metric is handed to functions that name it
    assert theirs.keys() - ours.keys() <= not_ours
    for name in ("prompts", "completions", "completion_ids", "references"):
        assert form(theirs[name]) == form(ours[name]), name
    assert type(theirs["trainer_state"]) is type(ours["trainer_state"])


def form(value: Any) -> Any:
    """What a value is made of: kinds of lists, and keys of messages."""
    if isinstance(value, list | tuple):
        return ["list", *([form(value[0])] if value else [])]
    return {key: form(item) for key, item in value.items()} if isinstance(value, dict) else type(value).__name__


def test_its_own_reward_functions_work_in_ours() -> None:
    from trl.rewards import get_soft_overlong_punishment, think_format_reward

    answers = ["<think>\nso\n</think>\n4", "4"]
    batch: dict[str, Any] = {
        "prompts": ["2", "2"],
        "completions": answers,
        "completion_ids": [[1] * 6, [1] * 12],
        "references": [None, None],
        "columns": {},
        "conversations": [({"role": "user", "content": "2"},)] * 2,
    }
    assert score(think_format_reward, **batch).scores == [1.0, 0.0]
    overlong = get_soft_overlong_punishment(max_completion_len=10, soft_punish_cache=5)
    assert score(overlong, **batch).scores == overlong(completion_ids=batch["completion_ids"]) == [-0.2, -1.0]


USER, ANSWER = [{"role": "user", "content": "1 2"}], [{"role": "assistant", "content": "3"}]
#: TRL's data-set formats, a row of each; whether it calls them conversational.
PROMPTED = {
    "prompt-only": ({"prompt": "1 2"}, False, None),
    "prompt-only, conversational": ({"prompt": USER}, True, None),
    "prompt-completion": ({"prompt": "1 2", "completion": "3"}, False, "3"),
    "prompt-completion, conversational": ({"prompt": USER, "completion": ANSWER}, True, "3"),
    "language modelling, conversational": ({"messages": USER + ANSWER}, True, "3"),
    "unpaired preference": ({"prompt": "1 2", "completion": "3", "label": True}, False, "3"),
    "unpaired preference, conversational": ({"prompt": USER, "completion": ANSWER, "label": True}, True, "3"),
}


@pytest.mark.parametrize("name", PROMPTED)
def test_its_formats_with_prompts_are_data_for_rl(tmp_path: Path, name: str) -> None:
    from trl.data_utils import is_conversational

    row, conversational, completion = PROMPTED[name]
    assert is_conversational(row) == conversational
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (sample,) = FileTask(DataConfig(train=str(path), holdout=0)).samples("train")
    assert sample.prompt == "1 2"
    assert [dict(message) for message in sample.messages] == (USER if conversational else [])
    assert sample.meta.get("completion") == completion
    assert sample.meta.get("label") == row.get("label")


# Implicit prompts of texts it cuts where both begin to differ, maybe inside of a word: here texts name their prompt.
@pytest.mark.parametrize(
    ("chat", "implicit"),
    [(False, False), (True, False), (True, True)],
    ids=["texts", "conversations", "conversations with implicit prompts"],
)
def test_its_preferences_train_a_reward_model(tmp_path: Path, chat: bool, implicit: bool) -> None:
    from trl.data_utils import extract_prompt

    pairs = []
    for i in range(12):
        prompt: Any = f"{i} {i + 1}"
        chosen, rejected = f"{i + 2}", "0 0"
        if chat:
            prompt = [{"role": "user", "content": prompt}]
            chosen, rejected = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
        whole = {"chosen": prompt + chosen, "rejected": prompt + rejected}
        pairs.append(whole if implicit else {"prompt": prompt, "chosen": chosen, "rejected": rejected})
        if implicit:
            assert extract_prompt(whole)["prompt"] == prompt
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    tokenizer = tokenizer_of(chat)
    base = tmp_path / "base"
    tiny_lm("gpt2", vocab_size=len(tokenizer)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    words = ["--base", base, "--train", path, "--output", tmp_path / "out", "--epochs", "1", "--device", "cpu"]
    out = call("reward", "train", *words, *([] if chat else ["--join", " "]))
    assert out.exit_code == 0, out.output + out.stderr
    assert (tmp_path / "out" / "config.json").is_file()


@pytest.mark.parametrize(("config", "also"), [("GRPOConfig", ()), ("RLOOConfig", ("GRPOConfig",))])
def test_the_page_has_every_argument_of_its_configs(config: str, also: tuple[str, ...]) -> None:
    cls = getattr(trl, config)
    inherited = {field.name for field in dataclasses.fields(TrainingArguments)} - {"learning_rate"}
    inherited |= set().union(*(base.__annotations__ for base in cls.__mro__[1:] if base.__module__.startswith("trl.")))
    own = {field.name for field in dataclasses.fields(cls)} - inherited
    own -= {"vllm_importance_sampling_cap"}  # an old name of another
    said = set(arguments(config)).union(*map(arguments, also))
    starred = {name for name in own if any(pattern.endswith("*") and name.startswith(pattern[:-1]) for pattern in said)}
    assert len(own) > 30
    assert own - said - starred == set(), "no line in docs/from-trl.md"
    fields = {field.name for field in dataclasses.fields(cls)}
    assert {name for name in arguments(config) if not name.endswith("*")} - fields == set(), "no such argument"


def test_the_page_has_no_argument_of_trainingarguments_that_is_none() -> None:
    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert set(arguments("TrainingArguments")) - fields == set()


def test_the_page_has_every_argument_that_ppo_had() -> None:
    wheel = Path(sys.prefix) / OLD
    if not wheel.is_file():
        pytest.skip(f"{OLD} is not beside the environment: make test-door-trl")
    with zipfile.ZipFile(wheel) as content:
        sources = [content.read(f"trl/trainer/{name}.py").decode() for name in ("ppo_config", "utils")]
    fields = {
        line.target.id
        for source in sources
        for cls in ast.parse(source).body
        if isinstance(cls, ast.ClassDef) and cls.name in ("PPOConfig", "OnPolicyConfig")
        for line in cls.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    assert len(fields) > 30
    assert fields == set(arguments("PPOConfig"))


def test_there_is_no_ppo_any_more() -> None:
    """What the page says; where it comes back, the page is to be written anew."""
    assert not [name for name in dir(trl) if "PPO" in name or "ValueHead" in name]
