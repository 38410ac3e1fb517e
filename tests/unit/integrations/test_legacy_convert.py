"""Files of the original RL4LMs as recipes: every key honoured, or refused with a reason."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rl4lms.config import read_recipe
from rl4lms.errors import ConfigError
from rl4lms.integrations import legacy
from rl4lms.integrations.legacy import algorithms, metrics, pools, rewards
from rl4lms.plugins import registry
from rl4lms.plugins.options import options_model
from tests.unit.integrations.originals import TREE, original

DATA = os.environ.get("RL4LMS_TEST_DATA")
CONFIGS = sorted(Path(DATA, "rl4lms_configs").rglob("*.yml")) if DATA else []
needs_configs = pytest.mark.skipif(not CONFIGS, reason="RL4LMS_TEST_DATA names the folder with files of the original")

# The faults that the released files are known to have: lines of them.
FAULTY = {
    "common_gen/t5_nlpo": {23},
    "imdb_text_continuation/gpt2_a2c": {16},
    "narrative_qa/t5_nlpo": {45, 66, 93, 99},
    "narrative_qa/t5_nlpo_on_supervised": {45, 66},
    "narrative_qa/t5_ppo": {66, 93, 99},
    "synthetic_generate_increasing_numbers/gpt2_nlpo": {23},
}


def short(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def settings(path: Path) -> dict[str, Any]:
    return legacy.convert(path).settings


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ConfigError) as error:
        legacy.convert(path, **options)
    return str(error.value)


@needs_configs
@pytest.mark.parametrize("path", CONFIGS, ids=short)
def test_a_released_file_becomes_a_short_recipe_that_means_the_same(path: Path, tmp_path: Path) -> None:
    found = legacy.convert(path)
    target = tmp_path / path.with_suffix(".yaml").name
    target.write_text(legacy.recipe_text(found, target))
    assert read_recipe(target) == legacy.recipe_of(found)
    lines = target.read_text().splitlines()
    assert 4 <= sum(not line.startswith("#") for line in lines) <= 22
    assert {int(note.place.rpartition(":")[2]) for note in found.notes.faults} == FAULTY.get(short(path), set())
    for note in found.notes.faults:
        assert f"# Fault in line {note.place.rpartition(':')[2]}" in target.read_text()
    assert max(map(len, legacy.report(found))) < 80


@needs_configs
@pytest.mark.parametrize("path", CONFIGS, ids=short)
def test_strict_refuses_the_released_files_that_have_faults(path: Path) -> None:
    if short(path) not in FAULTY:
        legacy.convert(path, strict=True)
        return
    message = refusal(path, strict=True)
    assert {int(line) for line in re.findall(r"\.yml:(\d+): ", message)} == FAULTY[short(path)]


@needs_configs
def test_a_released_file_says_what_its_settings_say(tmp_path: Path) -> None:
    (path,) = (path for path in CONFIGS if short(path) == "common_gen/t5_nlpo_on_supervised")
    r = legacy.recipe_of(legacy.convert(path))
    assert (r.model.path, r.model.tokenizer) == ("rajkumarrrk/t5-common-gen", "t5-base")
    assert (r.prompt.max_tokens, r.prompt.truncation_side, r.prompt.prefix) == (
        20,
        "right",
        "generate a sentence with: ",
    )
    assert r.algorithm is not None
    assert r.reward is not None
    assert r.algorithm.name == "nlpo"
    wanted = {
        "n_epochs": 5,
        "ent_coef": 0.01,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "minibatch_size": 4,
        "clip_range": 0.2,
    }
    wanted |= {"mask_top_p": 0.9, "min_tokens_to_keep": 100, "mask_update_every": 20, "whiten_advantages": True}
    assert {key: r.algorithm.options[key] for key in wanted} == wanted
    assert r.reward.name == "meteor"
    assert (r.kl.kl_coef, r.kl.kl_target) == (0.01, 1.0)
    assert (r.optimizer.learning_rate, r.optimizer.weight_decay) == (2e-6, 1e-6)
    assert (r.rollout.top_k, r.rollout.min_new_tokens, r.rollout.max_new_tokens) == (50, 5, 20)
    assert (r.training.iterations, r.training.prompts_per_iteration) == (100, 64)  # 128 x 10 / 20
    assert (r.evaluation.every, r.decoding.num_beams, r.decoding.batch_size, r.checkpoint.every) == (5, 5, 50, 20)
    assert [m.name for m in r.evaluation.metrics] == [
        "meteor",
        "rouge",
        "bleu",
        "bert_score",
        "cider",
        "spice",
        "diversity",
    ]


def test_no_default_of_a_task_gets_into_what_an_old_file_says(tmp_path: Path) -> None:
    """The task has settings of its own (beams, an entropy bonus); the file says nothing of them, and means none."""
    pool = {"id": "commongen", "args": {"concept_end_token": "."}}
    r = legacy.recipe_of(legacy.convert(original(tmp_path, datapool=pool)))
    assert r.algorithm is not None
    assert (r.decoding.num_beams, r.decoding.min_new_tokens, r.decoding.top_k) == (1, 0, 0)
    assert (r.algorithm.options["ent_coef"], r.prompt.prefix) == (0.0, "summarize: ")
    target = tmp_path / "old.yaml"
    target.write_text(legacy.recipe_text(legacy.convert(tmp_path / "old.yml"), target))
    assert read_recipe(target) == r


def test_the_defaults_of_the_original_are_kept(tmp_path: Path) -> None:
    path = original(tmp_path, alg__args={}, without=("env.n_envs",))
    found = legacy.convert(path)
    assert found.rollouts == "342 prompts: n_steps 2048 x n_envs 1 / max_episode_length 6, rounded up"
    assert found.settings["training"]["prompts_per_iteration"] == 342
    assert found.settings["optimizer"] == {"learning_rate": 3e-4, "max_grad_norm": 0.5, "weight_decay": 1e-6}
    assert found.settings["algorithm"]["n_epochs"] == 10
    assert found.settings["algorithm"]["minibatch_size"] == 11  # 64 tokens of 6
    assert found.settings["checkpoint"]["every"] == 20


def test_a2c_takes_one_step_by_rmsprop(tmp_path: Path) -> None:
    path = original(tmp_path, alg__id="a2c", alg__args={"n_steps": 300})
    new = settings(path)
    assert new["algorithm"] == {
        "name": "a2c",
        "gamma": 0.99,
        "gae_lambda": 1.0,
        "whiten_advantages": False,
        "ent_coef": 0.0,
        "vf_coef": 0.5,
        "minibatch_size": 100,
    }
    assert new["training"]["prompts_per_iteration"] == 100
    assert new["optimizer"] == {
        "name": "rmsprop",
        "eps": 1e-5,
        "learning_rate": 7e-4,
        "max_grad_norm": 0.5,
        "weight_decay": 1e-6,  # of every group of parameters, which counts more than what is RMSprop's own
    }
    adam = settings(original(tmp_path, alg__id="a2c", alg__args={"n_steps": 6, "use_rms_prop": False}))
    assert adam["optimizer"] == {"learning_rate": 7e-4, "max_grad_norm": 0.5, "weight_decay": 1e-6}


@pytest.mark.parametrize("rmsprop", [True, False])
def test_what_the_original_overwrites_of_an_optimizer_is_said(tmp_path: Path, rmsprop: bool) -> None:
    """Groups of parameters have the policy's weight decay, and RMSprop arguments that the original names itself."""
    args = {"n_steps": 6, "use_rms_prop": rmsprop, "rms_prop_eps": 1e-4}
    policy = {"weight_decay": 0.05, "optimizer_kwargs": {"eps": 1e-3, "weight_decay": 0.2}}
    path = original(
        tmp_path, alg__id="a2c", alg__args=args, **{f"alg__policy__args__{k}": v for k, v in policy.items()}
    )
    found = legacy.convert(path)
    assert found.settings["optimizer"]["weight_decay"] == 0.05
    assert found.settings["optimizer"]["eps"] == (1e-4 if rmsprop else 1e-3)
    kwargs = "alg.policy.args.optimizer_kwargs"
    unneeded = (
        [f"{kwargs}.weight_decay", f"{kwargs}.eps"] if rmsprop else ["alg.args.rms_prop_eps", f"{kwargs}.weight_decay"]
    )
    assert [key for key in found.notes.unneeded if "eps" in key or "weight_decay" in key] == unneeded


@pytest.mark.parametrize("name", ["a2c", "trpo"])
def test_a_key_that_only_other_algorithms_have_is_no_suggestion_of_itself(tmp_path: Path, name: str) -> None:
    args = {"a2c": {"n_steps": 6, "batch_size": 64}, "trpo": {"n_steps": 6, "clip_range": 0.2}}[name]
    with pytest.raises(ConfigError) as caught:
        legacy.convert(original(tmp_path, alg__id=name, alg__args=args))
    key = "batch_size" if name == "a2c" else "clip_range"
    assert f"alg.args.{key}: " in str(caught.value)
    assert f"did you mean {key!r}" not in str(caught.value)
    assert name == "trpo" or "an iteration is one batch" in str(caught.value)


def test_greedy_sampled_and_beam_decoding(tmp_path: Path) -> None:
    def decoding(kwargs: dict[str, Any]) -> dict[str, Any]:
        path = original(tmp_path, train_evaluation__generation_kwargs=kwargs)
        found = legacy.recipe_of(legacy.convert(path)).decoding.model_dump()
        return {key: found[key] for key in ("temperature", "top_k", "num_beams", "length_penalty", "min_new_tokens")}

    sampled = {"temperature": 0.7, "top_k": 50, "num_beams": 1, "length_penalty": 1.0, "min_new_tokens": 2}
    assert decoding({"do_sample": True, "temperature": 0.7, "min_length": 2, "max_new_tokens": 5}) == sampled
    greedy = {"temperature": 0.0, "top_k": 0, "num_beams": 1, "length_penalty": 1.0, "min_new_tokens": 0}
    assert decoding({"max_new_tokens": 5}) == greedy
    beams = {"temperature": 1.0, "top_k": 0, "num_beams": 4, "length_penalty": 0.6, "min_new_tokens": 0}
    assert decoding({"num_beams": 4, "length_penalty": 0.6, "max_new_tokens": 5}) == beams


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"alg__policy__args__mask_type": "topk"}, ["mask_type: no key of the original"]),
        ({"alg__kl_div__norm_reward": True}, ["alg.kl_div.norm_reward: true is not supported"]),
        ({"alg__args__use_sde": True}, ["alg.args.use_sde: true is not supported"]),
        ({"alg__args__device": "cuda:1"}, ["alg.args.device", "CUDA_VISIBLE_DEVICES"]),
        ({"alg__args__n_step": 3}, ["alg.args.n_step: no key of the original; did you mean 'n_steps'?"]),
        ({"alg__id": "ppoo"}, ["alg.id: no algorithm", "did you mean 'ppo'"]),
        ({"alg__args__n_epochs": 0}, ["alg.args.n_epochs: must be at least 1"]),
        ({"alg__args__learning_rate": "fast"}, ["alg.args.learning_rate: must be a number"]),
        ({"env__args__terminate_on_eos": False}, ["env.args.terminate_on_eos: only True"]),
        ({"env__args__priority_scale": 0.5}, ["env.args.priority_scale: 0.5 is not supported"]),
        ({"datapool__id": "crd3"}, ["datapool.id: there is no task on crd3", "data: {train: FILE}"]),
        (
            {"datapool__id": "my_pool"},
            ["datapool.id: no data pool", "{id: path/to/file.py:task}, see docs/migration.md"],
        ),
        ({"reward_fn__id": "my_reward"}, ["reward_fn.id: no reward", "{id: path/to/file.py:Class}"]),
        ({"reward_fn__args__min_token": 3}, ["reward_fn.args.min_token: no key", "'min_tokens'"]),
        ({"reward_fn": {"id": "rouge", "args": {"rouge_type": "rouge9"}}}, ["rouge_type: must be rouge1 or"]),
        ({"alg__policy__args__generation_kwargs__num_beams": 4}, ["num_beams: rollouts must sample"]),
        ({"alg__policy__args__generation_kwargs__do_sample": False}, ["do_sample: rollouts must sample"]),
        ({"alg__policy__args__generation_kwargs__repetition_penalty": 2.0}, ["{name: repetition_penalty}"]),
        ({"alg__policy__args__optimizer_kwargs": {"betas": [0.9, 0.95]}}, ["optimizer.betas of a recipe"]),
        ({"alg__policy__id": "maskable_causal_lm_actor_critic_policy"}, ["with ppo write causal_lm_"]),
        ({"train_evaluation__metrics": [{"id": "summaCConv"}]}, ["the trained layer has to be converted"]),
        ({"train_evaluation__metrics": "rouge"}, ["metrics: must be a list of `id` and `args`"]),
        ({"alg__kl_div": 3}, ["alg.kl_div: must be a mapping (`key: value` lines), got 3"]),
        ({"sweep": 1}, ["sweep: no key of the original"]),
        ({"alg__args__gamma": 1.5}, ["alg.args.gamma: must be at most 1"]),
        ({"alg__policy__args__generation_kwargs__top_p": 1.5}, ["generation_kwargs.top_p: must be at most 1"]),
        ({"reward_fn": {"id": "mine.py:Mine", "args": {"name": "x"}}}, ["reward_fn.args.name: stands for the class"]),
    ],
)
def test_what_is_refused_says_where_and_what_instead(
    tmp_path: Path, changes: dict[str, Any], reasons: list[str]
) -> None:
    path = original(tmp_path, **changes)
    message = refusal(path)
    assert all(reason in message for reason in reasons), message
    assert all(re.match(rf"{re.escape(str(path))}:\d+: ", line) for line in message.splitlines())


def test_what_is_in_a_missing_block_is_not_asked_for(tmp_path: Path) -> None:
    without = ("env", "alg.policy", "alg.kl_div", "train_evaluation", "reward_fn")
    message = refusal(original(tmp_path, without=without, tokenizer=None))
    keys = [line.split(": ")[1] for line in message.splitlines()]
    assert sorted(keys) == sorted([*without, "tokenizer"])
    assert all(line.endswith(": is required") for line in message.splitlines())


# Values that a key may be set to by mistake.
MISTAKES: list[Any] = [None, 0, -1, 1.5, "x", "", "True,", True, [], {}, [1], {"a": 1}, 10**9, "1e-3", "0.5,", 1e-30]


def leaves(tree: Any, path: str = "") -> Iterator[str]:
    """The dotted keys of everything in an old file."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        own = f"{path}.{key}".removeprefix(".")
        yield own
        yield from leaves(value, own)


@pytest.mark.parametrize("path", list(leaves(TREE)))
def test_whatever_a_key_is_set_to_there_is_a_recipe_or_a_message_with_its_line(tmp_path: Path, path: str) -> None:
    for value in MISTAKES:
        file = original(tmp_path, **{path.replace(".", "__"): value})
        target = file.with_suffix(".yaml")
        message = ""
        try:
            found = legacy.convert(file)
            target.write_text(legacy.recipe_text(found, target))
        except ConfigError as error:
            message = str(error)
        if message:
            assert all(re.match(rf"{re.escape(str(file))}:\d+: ", line) for line in message.splitlines()), message
            assert "object at" not in message
        else:
            assert read_recipe(target) == legacy.recipe_of(found)


def test_everything_that_is_refused_is_told_at_once(tmp_path: Path) -> None:
    path = original(tmp_path, without=("env.args.max_prompt_length",), alg__args__n_epochs=0, datapool__id="crd3")
    assert len(refusal(path).splitlines()) == 3


@pytest.mark.parametrize("kind", ["learned_top_k", "topk"])
def test_masks_that_are_no_top_p_are_refused_with_what_to_write(tmp_path: Path, kind: str) -> None:
    mask = {"mask_type": kind, "top_mask": 20}
    args = {"model_name": "gpt2", "generation_kwargs": {"do_sample": True, "max_new_tokens": 6}, **mask}
    policy = {"id": "maskable_causal_lm_actor_critic_policy", "args": args}
    wanted = "learned_top_p" if kind == "learned_top_k" else "alg.id: ppo with generation_kwargs.top_k"
    assert wanted in refusal(original(tmp_path, alg__id="nlpo", alg__policy=policy))


def test_an_algorithm_that_is_not_registered_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(registry.algorithms._entries, "trpo", raising=False)
    path = original(tmp_path, alg__id="trpo", alg__args={"n_steps": 12})
    assert "alg.id: trpo: this version has no algorithm trpo" in refusal(path)


@pytest.mark.parametrize(
    ("changes", "key", "repair"),
    [
        ({"alg__args__learning_rate": "0.1,"}, "alg.args.learning_rate", "read as 0.1"),
        ({"env__args__terminate_on_eos": "True,"}, "env.args.terminate_on_eos", "read as true"),
        ({"env__args__terminate_on_eos": None}, "env.args.terminate_on_eos", "texts end at their EOS"),
        ({"env__args__prompt_truncation_side": "right"}, "env.args.prompt_truncation_side", "right in both"),
        ({"env__args__context_start_token": 0}, "env.args.context_start_token", "a completion continues its prompt"),
        ({"alg__policy__args__generation_kwargs__max_new_tokens": 9}, "generation_kwargs.max_new_tokens", "shorter, 6"),
        ({"alg__policy__args__generation_kwargs__max_new_tokens": 3}, "generation_kwargs.max_new_tokens", "shorter, 3"),
        ({"alg__policy__args__generation_kwargs__min_length": 7}, "generation_kwargs.min_length", "6"),
        ({"train_evaluation__metrics": [{"id": "bleu"}, {"id": "bleu"}]}, "metrics.1.id", "taken once"),
    ],
)
def test_faults_are_repaired_and_told_or_refused(
    tmp_path: Path, changes: dict[str, Any], key: str, repair: str
) -> None:
    path = original(tmp_path, **changes)
    found = legacy.convert(path)
    (note,) = found.notes.faults
    assert note.key.endswith(key)
    assert repair in note.repair
    assert note.place.startswith(f"{path}:")
    assert "(--strict)" in refusal(path, strict=True)
    legacy.recipe_of(found)


def test_words_that_yaml_1_1_takes_for_flags_are_no_faults(tmp_path: Path) -> None:
    path = original(tmp_path)
    path.write_text(path.read_text().replace("terminate_on_eos: true", "terminate_on_eos: yes"))
    assert legacy.convert(path).notes.faults == []


def test_a_supervised_file_is_a_warm_start_alone(tmp_path: Path) -> None:
    alg = {
        "id": "supervised",
        "model_type": "causal",
        "model_name": "gpt2",
        "training_args": {"num_train_epochs": 2, "learning_rate": 0.001, "logging_steps": 10},
        "generation_kwargs": {"do_sample": True, "max_new_tokens": 6, "post_processing_fn": None},
    }
    pool = {"id": "imdb_seq2seq", "args": {}}
    last = {"eval_batch_size": 4, "metrics": []}
    without = ("reward_fn", "env")
    path = original(tmp_path, without=without, alg=alg, datapool=pool, train_evaluation=last, tokenizer__max_length=32)
    r = legacy.recipe_of(legacy.convert(path))
    assert (r.algorithm, r.reward) == (None, None)
    assert r.supervised is not None
    assert (r.supervised.epochs, r.supervised.batch_size, r.supervised.learning_rate) == (2, 8, 0.001)
    assert (r.prompt.max_tokens, r.evaluation.metrics, r.decoding.top_k) == (32, [], 50)
    alg["generation_kwargs"] = {"post_processing_fn": {"id": "three_sentence_summary"}}
    path = original(tmp_path, without=without, alg=alg, datapool=pool, train_evaluation=last)
    assert "post_processing_fn" in refusal(path)


def test_own_classes_are_named_by_their_file(tmp_path: Path) -> None:
    reward = {"id": "mine.py:Mine", "args": {"most": 3}}
    new = settings(original(tmp_path, reward_fn=reward, train_evaluation__metrics=[{"id": "mine.py:Count"}]))
    assert new["reward"] == {"name": "mine.py:Mine", "most": 3}
    assert new["evaluation"]["metrics"] == [{"name": "mine.py:Count"}]


def test_combined_rewards(tmp_path: Path) -> None:
    args = {"spice_coeff": 0.0, "cider_coeff": 2.0, "shaping_fn": "common_gen_repeat_penalty_batched"}
    new = settings(original(tmp_path, reward_fn={"id": "spider", "args": args}))
    parts = [{"reward": {"name": "cider"}, "weight": 2.0}, {"reward": {"name": "commongen_penalty"}}]
    assert new["reward"] == {"name": "sum", "parts": parts}
    args = {"model_type": "11b", "concept_penalty_coeff": 0.5, "meteor_coeff": 0.25}
    found = legacy.convert(original(tmp_path, reward_fn={"id": "common_gen_preference_model", "args": args}))
    model, meteor = found.settings["reward"]["parts"]
    assert [part["reward"]["name"] for part in model["reward"]["parts"]] == ["preference", "concept_penalty"]
    assert meteor == {"reward": {"name": "meteor"}, "weight": 0.25}
    assert "t5-11b~commongen_prefs.pt" in found.notes.to_do[0].text


def test_a_file_is_of_the_one_kind_or_the_other(tmp_path: Path) -> None:
    path = original(tmp_path)
    assert legacy.is_original(path)
    with pytest.raises(ConfigError, match=r"old\.yml:\d+: alg: this is a file of the original RL4LMs.* rl4lms convert"):
        read_recipe(path)
    native = tmp_path / "native.yaml"
    native.write_text("model: gpt2\ndata: x.jsonl\nreward: meteor\n")
    assert not legacy.is_original(native)
    path.write_text(path.read_text() + "model: gpt2\n")
    with pytest.raises(ConfigError, match=r"old\.yml:\d+: model: is a key of recipes, and alg \("):
        legacy.is_original(path)


def test_another_model_brings_its_tokenizer_and_data_replace_the_task(tmp_path: Path) -> None:
    found = legacy.convert(original(tmp_path, tokenizer__model_name="other"))
    assert found.settings["model"] == {"path": "gpt2", "tokenizer": "other"}
    r = legacy.recipe_of(found, ["training.iterations=1"], {"model": "folder", "data": "x.jsonl"})
    assert (r.model.path, r.model.tokenizer, r.task, r.training.iterations) == ("folder", None, None, 1)


@pytest.mark.parametrize("name", algorithms.OPTIONS)
def test_the_tables_have_the_names_and_defaults_of_this_library(name: str) -> None:
    if name not in registry.algorithms:
        pytest.skip(f"{name} is not registered yet, and refused")
    fields = {f.alias or key: f for key, f in options_model(registry.algorithms, name).model_fields.items()}
    for option in algorithms.OPTIONS[name].values():
        field = fields[option.name]
        assert (field.default != option.original) == option.differs, option
        limits = {
            key: getattr(part, key) for part in field.metadata for key in ("ge", "gt", "le") if hasattr(part, key)
        }
        own = {key: getattr(option, key) for key in ("ge", "gt", "le") if getattr(option, key) is not None}
        assert own == limits, option
    assert algorithms.ours(name)["minibatch_size"] == fields["minibatch_size"].default


@pytest.mark.parametrize("name", metrics.OURS)
def test_left_out_options_of_metrics_are_their_defaults(name: str) -> None:
    fields = {f.alias or key: f.default for key, f in options_model(registry.metrics, name).model_fields.items()}
    assert metrics.OURS[name] == {key: fields[key] for key in metrics.OURS[name]}


def test_every_id_of_the_original_is_there() -> None:
    """The registries of version 0.2.2."""
    assert set(rewards.REWARDS) == set(
        [
            "increasing_numbers",
            "sentences_with_dates",
            "learned_reward",
            "meteor",
            "rouge",
            "rouge_combined",
            "bert_score",
            "bleu",
            "bleurt",
            "spider",
            "common_gen_repeat_penalty",
            "common_gen_repeat_penalty_batched",
            "parent",
            "sacre_bleu",
            "rouge_l_max",
            "ter",
            "chrf",
            "intent_accuracy",
            "common_gen_preference_model",
        ]
    )
    assert set(metrics.METRICS) == set(
        [
            "increasing_numbers",
            "dates",
            "learned_reward",
            "meteor",
            "rouge",
            "bert_score",
            "bleu",
            "bleurt",
            "diversity",
            "summaCZS",
            "summaCConv",
            "causal_perplexity",
            "cider",
            "spice",
            "parent_totto",
            "bleu_totto",
            "rouge_l_max",
            "sacre_bleu",
            "ter",
            "chrf",
            "intent_accuracy",
        ]
    )
    assert {*pools.POOLS, *pools._ABSENT} == set(
        [
            "dummy_pool",
            "imdb",
            "commongen",
            "totto",
            "cnn_daily_mail",
            "imdb_seq2seq",
            "narrative_qa",
            "wmt16",
            "wmt14_processed_en_de",
            "wmt16newsonly",
            "iwslt2017en_de",
            "crd3",
            "daily_dialog",
        ]
    )


ARGUMENTS: dict[str, dict[str, Any]] = {
    "increasing_numbers": {"min_tokens": 5},
    "learned_reward": {"model_name": "c", "label_ix": 1},
    "rouge": {"rouge_type": "rouge2"},
    "spider": {"spice_coeff": 0.5, "cider_coeff": 0.5},
    "rouge_l_max": {"limit_length": False},
    "common_gen_preference_model": {"model_type": "11b"},
    "causal_perplexity": {"stride": 512, "tokenizer_id": "gpt2"},
    "daily_dialog": {"context_size": 5},
    "dummy_pool": {"prompt": "x"},
    "commongen": {"concept_end_token": "."},
    "imdb": {"seed": 1},
}


@pytest.mark.parametrize("name", rewards.REWARDS)
def test_every_reward_becomes_one_that_the_reader_knows(tmp_path: Path, name: str) -> None:
    path = original(tmp_path, reward_fn={"id": name, "args": ARGUMENTS.get(name, {})})
    legacy.recipe_of(legacy.convert(path))


@pytest.mark.parametrize("name", sorted(set(metrics.METRICS) - {"summaCConv"}))
def test_every_metric_becomes_one_that_the_reader_knows(tmp_path: Path, name: str) -> None:
    args = {} if name == "rouge" else ARGUMENTS.get(name, {})
    path = original(tmp_path, train_evaluation__metrics=[{"id": name, "args": args}])
    assert len(legacy.recipe_of(legacy.convert(path)).evaluation.metrics) == 1


@pytest.mark.parametrize("name", pools.POOLS)
def test_every_pool_becomes_a_task_that_the_reader_knows(tmp_path: Path, name: str) -> None:
    recipe = legacy.recipe_of(
        legacy.convert(original(tmp_path, datapool={"id": name, "args": ARGUMENTS.get(name, {})}))
    )
    assert recipe.task is not None
    assert recipe.task.options.get("edition", "full") == "full"


def test_converting_loads_no_torch(tmp_path: Path) -> None:
    path = original(tmp_path)
    code = (
        "import sys; from rl4lms.cli.main import app\n"
        f"try: app(['convert', {str(path)!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'transformers', 'datasets'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stdout + result.stderr
