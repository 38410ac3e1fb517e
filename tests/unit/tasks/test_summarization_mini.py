from __future__ import annotations

from random import Random

import pytest

from rl4lms import rewards
from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics.meteor import MeteorExactStem
from rl4lms.tasks.summarization import grammar
from rl4lms.tasks.summarization.table import KINDS, TABLE, slots
from tests.unit.tasks.mini import broken_share, check_base_data, check_mini, train_from_start

FACTS = {"city": "paris", "day": "monday", "count": "12", "what": "hotel", "why": "a gas leak"}


def perfect(sample, text):
    row = text, sample.meta["news"], sample.meta["facts"]
    return float(grammar.faithful(*row) and grammar.covered(*row) == 1)


@pytest.mark.slow  # as commongen's, which is always run
def test_the_edition():
    check_mini("cnn_daily_mail", perfect)
    check_base_data("cnn_daily_mail")


def test_a_row_is_an_article_and_two_sentences_in_other_words():
    rows = [grammar.example(3, index) for index in range(300)]
    assert {row.meta["news"] for row in rows} == set(KINDS)
    for row in rows:
        sentences = [text for text in row.prompt.replace('"', "").split(" .") if text.strip()]
        assert len(sentences) in (4, 5, 6)
        words = row.prompt.split()
        for name, fact in row.meta["facts"].items():
            assert f" {fact} " in f" {row.prompt} ", name
        for text in row.references:
            assert text.count(" .") == 2
            new = [word for word in text.split() if word not in words]
            assert new  # in other words


def test_faithful_means_nothing_but_what_is_so_and_covered_how_much_of_it():
    def measured(text, news="fire"):
        return grammar.faithful(text, news, FACTS), grammar.covered(text, news, FACTS)

    whole = "blaze destroys hotel in paris on monday . 12 are hurt after a gas leak ."
    assert measured(whole) == (True, 1)
    assert measured("blaze destroys hotel in paris on monday .") == (True, 0.6)
    assert measured(whole.replace("paris", "rome")) == (False, 0.8)
    assert measured(whole.replace("12", "13").replace("monday", "friday")) == (False, 0.6)
    assert measured(whole, "flood") == (False, 0)
    for broken in (whole.removesuffix(" ."), "hotel paris monday 12 a gas leak", f"{whole} {whole}", ""):
        assert measured(broken) == (False, 0)


def test_the_reward_of_other_wordings():
    """What the card says: the same facts in another wording have nearly all of the reward."""
    rng, pairs = Random("wordings"), []
    for index in range(200):
        row = grammar.example(0, index)
        given = {symbol: row.meta["facts"][name] for symbol, name in slots(row.meta["news"]).items()}
        sentences = (f"{part}<{row.meta['news']}>" for part in ("FIRST", "SECOND"))
        text = " ".join(word for symbol in sentences for word in TABLE.write(symbol, rng, given))
        if text not in row.references:
            pairs.append((text, row.references))
    texts, references = zip(*pairs, strict=True)
    values = MeteorExactStem()(texts, references)["meteor_exact_stem"]
    assert 0.9 < sum(values) / len(values) < 0.95


def test_errors_are_not_derivable():
    texts = [grammar.example(0, index).references[0] for index in range(200)]
    assert broken_share(texts, grammar.derivable) > 0.9
    # sentences of two kinds of news
    assert not grammar.derivable("blaze destroys hotel in paris on monday . jail for 12 years over fraud .")


def test_the_metric():
    columns = {"news": ["fire"] * 3, "facts": [FACTS] * 3}
    texts = ["12 are hurt after a gas leak .", "bus crashes in paris on monday .", "blaze"]
    assert grammar.grammar_metric(texts, **columns) == {
        "derivable": [1.0, 1.0, 0.0],
        "covered": [0.4, 0.0, 0.0],
        "faithful": [1.0, 0.0, 0.0],
    }
    with pytest.raises(DataError, match="'news' and 'facts'"):
        grammar.grammar_metric(["x"])
    with pytest.raises(ConfigError, match="gold"):
        rewards.build("cnn_daily_mail_grammar")


@pytest.mark.slow
def test_a_run(tmp_path, monkeypatch):
    numbers = train_from_start("cnn_daily_mail", tmp_path, monkeypatch)
    assert numbers["eval/faithful"] >= 0
    assert numbers["eval/meteor_exact_stem"] > 0.1
