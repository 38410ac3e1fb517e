from __future__ import annotations

import os

import pytest

from rl4lms.errors import ConfigError, DataError, RewardError, UnknownNameError
from rl4lms.plugins import registry
from rl4lms.rewards import as_trl_reward, build, score
from rl4lms.rewards.resolve import MetricReward
from rl4lms.types import CorpusValue

BATCH = {
    "prompts": ["p", "q"],
    "completions": ["1 2 3", "the cat"],
    "completion_ids": [[5], [6, 7]],
    "references": [("1 2",), ("a cat", "the cat")],
    "columns": {},
}


@pytest.fixture
def registered(monkeypatch):
    """Registries that forget what a test adds."""
    for kind in (registry.rewards, registry.metrics):
        monkeypatch.setattr(kind, "_entries", dict(kind._entries))
    return registry


def test_registered_by_name_with_options():
    assert score(build("increasing_numbers"), **BATCH).scores == [pytest.approx(0.3), 0.0]
    assert score(build({"name": "increasing_numbers", "min_tokens": 6}), **BATCH).scores == [1.0, 0.0]


def test_a_decorated_function_with_an_option(registered):
    @registered.rewards.register("brevity_here")
    def brevity(completions, *, target_words: int = 20, **columns):
        return [target_words - len(text.split()) for text in completions]

    assert score(build("brevity_here"), **BATCH).scores == [17.0, 18.0]
    assert score(build({"name": "brevity_here", "target_words": 3}), **BATCH).scores == [0.0, 1.0]
    with pytest.raises(ConfigError, match="did you mean 'target_words'"):
        build({"name": "brevity_here", "target_word": 3})
    with pytest.raises(ConfigError, match="target_words"):
        build({"name": "brevity_here", "target_words": "three"})


def test_an_option_that_is_also_a_column(registered):
    @registered.rewards.register("hinted")
    def hinted(completions, *, hint=None):
        return [0.0 if hint is None else hint[0] for _ in completions]

    columns = {"columns": {"hint": [5, 6]}}
    assert score(build("hinted"), **BATCH | columns).scores == [5.0, 5.0]  # filled from the data
    assert score(build({"name": "hinted", "hint": [7]}), **BATCH).scores == [7.0, 7.0]
    with pytest.raises(DataError, match="both an option and a data column"):
        score(build({"name": "hinted", "hint": [7]}), **BATCH | columns)


def test_functions_pass_through():
    def mine(completions):
        return [0, 1]

    assert build(mine) is mine


def test_unknown_names_look_among_metrics_too():
    with pytest.raises(UnknownNameError, match="did you mean 'dates'"):
        build("date")
    with pytest.raises(UnknownNameError, match="did you mean 'rouge'"):
        build("rogue")


# --- files
# --------------------------------------------------------------------------------------------------------------------------------


def test_a_function_in_a_file(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "def longest(completions, *, scale=1, **columns):\n    return [scale * len(c) for c in completions]\n"
    )
    name = f"{tmp_path}/mine.py:longest"
    assert score(build(name), **BATCH).scores == [5.0, 7.0]
    assert score(build({"name": name, "scale": 2}), **BATCH).scores == [10.0, 14.0]
    monkeypatch.chdir(tmp_path)
    assert score(build("mine.py:longest"), **BATCH).scores == [5.0, 7.0]
    with pytest.raises(ConfigError, match="did you mean 'longest'"):
        build("mine.py:longst")
    with pytest.raises(ConfigError, match="did you mean 'scale'"):
        build({"name": "mine.py:longest", "scal": 2})
    with pytest.raises(ConfigError, match="there is no file"):
        build("yours.py:longest")


def test_a_class_in_a_file_and_a_changed_file(tmp_path):
    file = tmp_path / "mine.py"
    source = (
        "class R:\n    def __init__(self, by=1):\n        self.by = by\n    def __call__(self, completions):\n   "
        "     return [{}] * 2\n"
    )
    file.write_text(source.format("self.by"))
    assert score(build({"name": f"{file}:R", "by": 4}), **BATCH).scores == [4.0, 4.0]
    file.write_text(source.format("-self.by"))
    os.utime(file, ns=(1, 1))
    assert score(build({"name": f"{file}:R", "by": 4}), **BATCH).scores == [-4.0, -4.0]


def test_errors_in_the_file_name_its_line(tmp_path):
    (tmp_path / "mine.py").write_text("import not_a_package_at_all\n")
    for _ in range(2):  # nothing half-executed is kept
        with pytest.raises(
            ConfigError, match=r"mine\.py:1: ModuleNotFoundError: No module named 'not_a_package_at_all'$"
        ) as caught:
            build(f"{tmp_path}/mine.py:f")
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)


# --- metrics as rewards
# -------------------------------------------------------------------------------------------------------------------


def test_a_metric_as_a_reward():
    assert score(build({"name": "rouge", "key": "rouge1"}), **BATCH).scores == [pytest.approx(0.8), 1.0]


def test_which_key():
    with pytest.raises(RewardError, match="choose one with the option `key`: rouge1, rouge2"):
        score(build("rouge"), **BATCH)
    with pytest.raises(RewardError, match="no values per text called 'rouge9'"):
        score(build({"name": "rouge", "key": "rouge9"}), **BATCH)
    with pytest.raises(ConfigError, match="'key': should be text"):
        build({"name": "rouge", "key": 1})


def test_metrics_that_cannot_be_rewards():
    with pytest.raises(RewardError, match="one value for a whole set"):
        score(build("diversity"), **BATCH)
    with pytest.raises(ConfigError, match="'reference_perplexity' measures the policy itself"):
        build("reference_perplexity")
    with pytest.raises(ConfigError, match="'imdb_grammar' is gold"):
        build({"name": "sum", "parts": [{"reward": {"name": "imdb_grammar", "key": "gold_sentiment"}}]})


def test_texts_of_a_column_reach_the_metric_of_a_trl_reward():
    given = {}

    def metric(prompts, full_prompts, completions, texts=None):
        given.update(prompts=prompts, full_prompts=full_prompts, texts=texts)
        return {"x": [1.0] * len(completions)}

    reward, conversation = MetricReward(metric, "own"), [{"role": "user", "content": "good"}]
    reward(prompts=[conversation], completions=[", and"])
    assert given == {"prompts": ["good"], "full_prompts": ["good"], "texts": None}
    reward(prompts=["good"], full_prompts=["so good"], completions=[", and"], texts=["good, and"])
    assert given == {"prompts": ["good"], "full_prompts": ["so good"], "texts": ["good, and"]}


def test_as_trl_reward():
    reward = as_trl_reward("rouge", key="rouge1")
    assert reward.__name__ == "rouge"  # TRL logs rewards under their name
    texts = {
        "prompts": BATCH["prompts"],
        "completions": BATCH["completions"],
        "completion_ids": BATCH["completion_ids"],
    }
    assert reward(**texts, references=["1 2", ["the cat"]], trainer_state=None) == [pytest.approx(0.8), 1.0]
    conversation = [[{"role": "assistant", "content": text}] for text in BATCH["completions"]]
    prompts = [[{"role": "user", "content": text}] for text in BATCH["prompts"]]
    assert reward(prompts=prompts, completions=conversation, references=["1 2", "the cat"]) == [pytest.approx(0.8), 1.0]
    assert as_trl_reward({"name": "increasing_numbers", "min_tokens": 6})(**texts) == [1.0, 0.0]
    with pytest.raises(ConfigError, match="cannot be a reward"):
        as_trl_reward("reference_perplexity")


# --- metrics as rewards
# -------------------------------------------------------------------------------------------------------------------


class Several:
    """A metric of two values per text and one for all."""

    higher_is_better = {"good": True, "bad": False}

    def __call__(self, completions, **columns):
        return {"good": [1.0, None], "bad": [0.25, 0.5], "all": CorpusValue(3.0)}


def test_lower_is_better_counts_negatively_and_none_leaves_out():
    assert score(MetricReward(Several(), "several", "bad"), **BATCH).scores == [-0.25, -0.5]
    assert score(MetricReward(Several(), "several", "good"), **BATCH).scores == [1.0, None]
    with pytest.raises(RewardError, match=r"several values per text; choose one with the option `key`: good, bad$"):
        score(MetricReward(Several(), "several"), **BATCH)


def test_a_metric_may_say_which_value_is_the_reward_and_on_what_scale():
    metric = Several()
    metric.reward_key = "bad"
    metric.as_reward = lambda key, value: 1 - value if key == "bad" else value
    assert score(MetricReward(metric, "several"), **BATCH).scores == [0.75, 0.5]
    assert score(MetricReward(metric, "several", "good"), **BATCH).scores == [1.0, None]


def test_conversations_as_trl_gives_them():
    reward = as_trl_reward("token_f1")
    conversations = [
        [{"role": "assistant", "content": "the cat"}],
        [{"role": "assistant", "content": [{"type": "text", "text": "the cat"}, {"type": "image"}]}],
        [{"role": "assistant", "content": None, "tool_calls": []}],
    ]
    assert reward(prompts=["p"] * 3, completions=conversations, references=["the cat"] * 3) == [1.0, 1.0, 0.0]
    with pytest.raises(DataError, match="no row has any"):
        reward(prompts=["p"], completions=["c"], references=[None])


def test_a_corpus_for_trl():
    with pytest.raises(
        ConfigError, match="cider_d takes document frequencies from a fixed corpus: give it, as corpus="
    ):
        as_trl_reward("cider_d")
    reward = as_trl_reward("cider_d", corpus=[["a cat"], ["the dog"], ["a bird"]])
    assert reward(prompts=["p"], completions=["the dog"], references=[["the dog"]])[0] > 0


def test_what_names_nothing():
    for nothing in (5, ["rouge"], {"weight": 1}):
        with pytest.raises(ConfigError, match=r"^reward .*: name a reward, or \{name: \.\.\., option: \.\.\.\}"):
            build(nothing)
