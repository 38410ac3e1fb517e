from __future__ import annotations

import pytest

from rl4lms import rewards
from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics.totto import TottoParent
from rl4lms.tasks.totto import grammar
from rl4lms.tasks.totto.table import KINDS
from tests.unit.tasks.mini import broken_share, check_base_data, check_mini, mini_task, train_from_start


def perfect(sample, text):
    return float(grammar.faithful(text, sample.meta))


@pytest.mark.slow  # as commongen's, which is always run
def test_the_edition():
    check_mini("totto", perfect)
    check_base_data("totto")


def page(section: str, title: str, header: str, *rows: str) -> dict:
    lines = [header.split(" | "), *(row.split(" | ") for row in rows)]
    table = [[{"value": value, "is_header": line is lines[0], "column_span": 1} for value in line] for line in lines]
    return {"table": table, "table_page_title": title, "table_section_title": section}


FILMS = page(
    "films",
    "anna west",
    "year | film | role | director",
    "1990 | the cold garden | the nurse | leo hall",
    "1994 | the lost moon | the queen | rosa hunt",
)


def test_a_row_is_a_page_with_cells_of_one_row_and_sentences_about_them():
    rows = [grammar.example(3, index) for index in range(300)]
    assert {row.meta["table_section_title"] for row in rows} == set(KINDS)
    assert {len(row.meta["highlighted_cells"]) for row in rows} == {2, 3, 4}
    for row in rows:
        _, *lines = row.meta["table"]
        assert len(lines) == 3
        assert len({number for number, _ in row.meta["highlighted_cells"]}) == 1
        for text in row.references:
            # words of other rows are nowhere, those of highlighted cells all are
            said = f" {text} "
            for number, line in enumerate(lines, start=1):
                for place, cell in enumerate(line):
                    named = f" {cell['value']} " in said
                    if [number, place] in row.meta["highlighted_cells"]:
                        assert named
                    elif not cell["value"].isdigit():  # a small number may stand in a score
                        assert not named


def test_faithful_means_the_highlighted_cells_alone():
    row = FILMS | {"highlighted_cells": [[2, 1], [2, 2]]}
    assert grammar.faithful("in the lost moon , anna west played the queen .", row)
    for wrong in (
        "in the lost moon , anna west played the queen",  # the full stop is missing
        "in the cold garden , anna west played the queen .",  # another row's film
        "in the lost moon , anna west played the nurse .",  # another row's role
        "in the lost moon , rosa hunt played the queen .",  # somebody else's page
        "in 1994 , anna west played the queen in the lost moon .",  # more than is highlighted
        "anna west appeared in the lost moon in 1994 .",  # a cell that is not, for one that is
        "the lost moon the queen anna west",
        "",
    ):
        assert not grammar.faithful(wrong, row)
    swapped = FILMS | {"highlighted_cells": [[1, 1], [1, 3]], "table_page_title": "rosa hunt"}
    assert grammar.faithful("leo hall directed rosa hunt in the cold garden .", swapped)
    assert not grammar.faithful("rosa hunt directed leo hall in the cold garden .", swapped)


def test_the_reward_of_references():
    """What the card says: a reference has nearly all of it, and far less where the other one is all there is."""
    rows = [row for row in mini_task("totto").samples("validation")[:100] if len(row.references) == 2]
    columns = {name: [row.meta[name] for row in rows] for name in rows[0].meta}
    first, both = [row.references[0] for row in rows], [row.references for row in rows]
    own = TottoParent()(first, both, **columns)["totto_parent"]
    other = TottoParent()(first, [texts[1:] for texts in both], **columns)["totto_parent"]
    assert sum(own) / len(own) > 0.9
    assert 0.3 < sum(other) / len(other) < 0.6


def test_errors_are_not_derivable():
    texts = [grammar.example(0, index).references[0] for index in range(200)]
    assert broken_share(texts, grammar.derivable) > 0.9
    for text in (
        "anna west has played the nurse .",
        "1990 people voted for anna west .",
        "the cold garden is 64 meters tall .",
    ):
        assert not grammar.derivable(text)


def test_the_metric():
    rows = [FILMS | {"highlighted_cells": [[1, 0], [1, 1]]}] * 3
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    texts = ["anna west appeared in the cold garden in 1990 .", "anna west appeared in the lost moon in 1994 .", "x"]
    assert grammar.grammar_metric(texts, **columns) == {"derivable": [1.0, 1.0, 0.0], "faithful": [1.0, 0.0, 0.0]}
    with pytest.raises(DataError, match="highlighted_cells"):
        grammar.grammar_metric(["x"], table=[[]])
    with pytest.raises(DataError, match="no such section"):
        grammar.grammar_metric(texts, **columns | {"table_section_title": ["Career"] * 3})
    with pytest.raises(ConfigError, match="gold"):
        rewards.build("totto_grammar")


@pytest.mark.slow
def test_a_run(tmp_path, monkeypatch):
    numbers = train_from_start("totto", tmp_path, monkeypatch)
    assert numbers["eval/faithful"] >= 0
    assert numbers["eval/meteor_exact_stem"] > 0.1
