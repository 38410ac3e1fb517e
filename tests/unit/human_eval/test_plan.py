"""Plans: who rates what, so that nothing but the texts can make a difference."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl4lms.errors import ConfigError
from rl4lms.human_eval.forms import Example, packaged_forms
from rl4lms.human_eval.outputs import Output
from rl4lms.human_eval.plan import cost_of, make_plan

FORMS = {kind: packaged_forms()[f"general-{kind.replace('_', '-')}"] for kind in ("likert", "pairwise", "best_worst")}


def outputs(prompts, systems="abc", stratum=lambda number: ""):
    return [
        Output(f"p{number}", f"prompt {number}", f"{system} wrote {number}", system, stratum=stratum(number))
        for number in range(prompts)
        for system in systems
    ]


def plan_of(kind="likert", prompts=12, items=10, per_item=3, raters=5, **more):
    return make_plan(outputs(prompts), FORMS[kind], items=items, per_item=per_item, raters=raters, **more)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(FORMS)),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 3),
)
def test_quotas_are_exact_and_nobody_sees_an_item_twice(kind, items, per_item, more, spares, attention, seed):
    raters = per_item + more
    plan = plan_of(kind, 9, items, per_item, raters, spares=spares, attention=attention, repeats=2, seed=seed)
    rated = [item.number for item in plan.items if item.purpose == "rate"]
    assert len(rated) == items * {"likert": 3, "pairwise": 3, "best_worst": 1}[kind]
    by_item = defaultdict(list)
    for one in plan.assignments:
        by_item[one.item].append(one.rater)
    for number in rated:
        assert len(by_item[number]) == per_item
        assert len(set(by_item[number])) == per_item
        assert max(by_item[number]) < raters  # spares have none of their own
    loads = Counter(one.rater for one in plan.assignments if plan.items[one.item].purpose == "rate")
    assert max(loads.values()) - min(loads[rater] for rater in range(raters)) <= 1
    for item in plan.items:
        if item.purpose == "check":
            assert sorted(by_item[item.number]) == list(range(raters + spares))
        if item.purpose == "repeat":
            rater = by_item[item.number]
            assert len(rater) == 1
            assert rater[0] in by_item[item.repeat_of]


@pytest.mark.parametrize("kind", ["pairwise", "best_worst"])
@pytest.mark.parametrize("per_item", [1, 2, 3])
def test_every_system_stands_at_every_place_equally_often(kind, per_item):
    plan = plan_of(kind, 24, 21, per_item, 7)
    places = defaultdict(Counter)
    for one in plan.assignments:
        item = plan.items[one.item]
        group = tuple(output.system for output in item.outputs)
        for place, output in enumerate(one.order):
            places[group, item.outputs[output].system][place] += 1
    assert places
    for counts in places.values():
        size = 2 if kind == "pairwise" else 3
        assert max(counts.values()) - min(counts[place] for place in range(size)) <= 1


def test_a_repeat_comes_after_the_first_time_with_the_texts_the_other_way_round():
    plan = plan_of("pairwise", repeats=4)
    for rater in range(5):
        own = [one for one in plan.assignments if one.rater == rater]
        place = {one.item: number for number, one in enumerate(own)}
        order = {one.item: one.order for one in own}
        repeats = [plan.items[one.item] for one in own if plan.items[one.item].purpose == "repeat"]
        assert len(repeats) == 4
        for item in repeats:
            assert place[item.number] > place[item.repeat_of]
            assert order[item.number] == order[item.repeat_of][::-1]


def test_texts_for_one_prompt_do_not_follow_each_other():
    plan = plan_of("likert", 12, 12, 3, 3)  # every rater has all 36
    for rater in range(3):
        prompts = [plan.items[one.item].prompt_id for one in plan.assignments if one.rater == rater]
        assert all(one != other for one, other in itertools.pairwise(prompts))


def test_strata_have_their_shares():
    found = make_plan(
        outputs(100, "ab", lambda number: "rare" if number < 20 else "common"),
        FORMS["likert"],
        items=25,
        per_item=1,
        raters=1,
    )
    prompts = {item.prompt_id: item.stratum for item in found.items}
    assert Counter(prompts.values()) == {"rare": 5, "common": 20}


def test_equal_texts_are_no_question_and_are_counted():
    rows = outputs(6, "ab")
    rows[1] = Output("p0", "prompt 0", " a wrote 0\n", "b")
    plan = make_plan(rows, FORMS["pairwise"], items=6, per_item=1, raters=1)
    assert plan.identical == {("a", "b"): ("p0",)}
    assert len(plan.items) == 5


def test_prompts_that_a_system_has_not_answered_are_left_out():
    rows = [row for row in outputs(6, "ab") if (row.prompt_id, row.system) != ("p3", "b")]
    plan = make_plan(rows, FORMS["pairwise"], items=5, per_item=1, raters=1)
    assert {item.prompt_id for item in plan.items} == {"p0", "p1", "p2", "p4", "p5"}
    with pytest.raises(ConfigError, match="--items 6, and 5 prompts have a text of every system"):
        make_plan(rows, FORMS["pairwise"], items=6, per_item=1, raters=1)


def test_checks_ask_for_what_can_be_answered():
    checks = [Example(completions=("good text", "bad text"), answers={"choice": 1})]
    plan = plan_of("pairwise", checks=checks, attention=3)
    found = [item for item in plan.items if item.purpose == "check"]
    assert [item.expected for item in found[:1]] == [{"choice": [0]}]
    assert len(found) == 4
    for item in found[1:]:  # both texts say which place, so they stay at theirs
        place = item.expected["choice"][0] + 1
        assert f"Text {place}" in item.outputs[0].completion
        assert all(one.order == (0, 1) for one in plan.assignments if one.item == item.number)


def test_the_plan_is_a_function_of_its_seed():
    assert plan_of(seed=4) == plan_of(seed=4)
    assert plan_of(seed=4) != plan_of(seed=5)


def test_what_cannot_be_planned_is_told():
    with pytest.raises(ConfigError, match="2 raters cannot give 3 ratings"):
        plan_of(raters=2)
    with pytest.raises(ConfigError, match="compares 3 systems or more, got 2: a, b"):
        make_plan(outputs(5, "ab"), FORMS["best_worst"], items=2, per_item=1, raters=1)


def test_the_cost_is_that_of_all_pages():
    plan = plan_of("likert", items=10, per_item=3, raters=5, attention=1)  # 30 items, 3 each, and 5 checks
    cost = cost_of(plan, 36, 10)
    assert cost.answers == 95
    assert cost.hours == pytest.approx(0.95)
    assert cost.pay == pytest.approx(9.5)
    assert cost.longest_minutes == pytest.approx(19 * 0.6)
