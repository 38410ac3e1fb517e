from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from rl4lms import stats
from rl4lms.errors import DataError

# Three groups of Likert ratings of unequal size, with ties.
GROUPS = {"base": [2, 3, 3, 1, 2, 4, 2], "ppo": [3, 4, 4, 5, 3], "nlpo": [4, 5, 5, 4, 5, 3]}


def test_anova_by_hand():
    """Sums of squares between and within groups."""
    values = [np.array(group, float) for group in GROUPS.values()]
    mean = np.concatenate(values).mean()
    between = sum(len(group) * (group.mean() - mean) ** 2 for group in values)
    within = sum(((group - group.mean()) ** 2).sum() for group in values)
    found = stats.anova(GROUPS)
    assert found.freedom == (2, 15)
    assert found.statistic == pytest.approx((between / 2) / (within / 15))
    assert found.p == pytest.approx(scipy.stats.f(2, 15).sf(found.statistic))


def test_tukey_by_hand():
    values = [np.array(group, float) for group in GROUPS.values()]
    within = sum(((group - group.mean()) ** 2).sum() for group in values) / 15
    found = stats.tukey_hsd(GROUPS)
    assert [(pair.first, pair.second) for pair in found] == [("base", "ppo"), ("base", "nlpo"), ("ppo", "nlpo")]
    for pair in found:
        one, other = np.array(GROUPS[pair.first], float), np.array(GROUPS[pair.second], float)
        error = np.sqrt(within / 2 * (1 / len(one) + 1 / len(other)))
        assert pair.difference == pytest.approx(one.mean() - other.mean())
        assert pair.p == pytest.approx(scipy.stats.studentized_range(3, 15).sf(abs(pair.difference) / error), abs=1e-6)
        half = scipy.stats.studentized_range(3, 15).ppf(0.95) * error
        assert (pair.low, pair.high) == pytest.approx((pair.difference - half, pair.difference + half), abs=1e-6)


def test_kruskal_by_permutation():
    """The chi-square is near the share of shufflings with as large a statistic."""
    rng = np.random.default_rng(0)
    everything = np.concatenate([np.array(group, float) for group in GROUPS.values()])
    ends = np.cumsum([len(group) for group in GROUPS.values()])[:-1]
    found = stats.kruskal_wallis(GROUPS)
    assert found.freedom == (2,)
    ranks = scipy.stats.rankdata(everything)

    def spread(order: np.ndarray) -> float:
        return sum(len(part) * (part.mean() - ranks.mean()) ** 2 for part in np.split(order, ends))

    shuffled = [spread(rng.permutation(ranks)) for _ in range(4000)]
    assert found.p == pytest.approx(np.mean(np.array(shuffled) >= spread(ranks)), abs=0.01)
    assert found.statistic == pytest.approx(spread(ranks) / np.var(ranks, ddof=1))


def test_dunn_is_what_the_ranks_of_two_of_the_groups_say():
    """The variance of a difference of mean ranks is that of drawing ranks without replacement."""
    everything = np.concatenate([np.array(group, float) for group in GROUPS.values()])
    ranks = dict(zip(GROUPS, np.split(scipy.stats.rankdata(everything), [7, 12]), strict=True))
    variance = np.var(scipy.stats.rankdata(everything), ddof=1)
    found = stats.dunn(GROUPS)
    raw = []
    for pair in found:
        one, other = ranks[pair.first], ranks[pair.second]
        assert pair.difference == pytest.approx(one.mean() - other.mean())
        error = np.sqrt(variance * (1 / len(one) + 1 / len(other)))
        raw.append(2 * scipy.stats.norm.sf(abs(pair.difference) / error))
    assert [pair.p for pair in found] == pytest.approx(list(stats.holm(raw)))


@pytest.mark.parametrize("test", [stats.anova, stats.tukey_hsd, stats.kruskal_wallis, stats.dunn])
@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": [1, 2]}, "needs two groups"),
        ({"a": [1, 2], "b": []}, "group 'b'"),
        ({"a": [1, 2], "b": [1, np.nan]}, "group 'b'.*value 2 of 2 is nan"),
        ({"a": [1], "b": [2]}, "a single value"),
    ],
)
def test_bad_groups(test, groups, message):
    with pytest.raises(DataError, match=message):
        test(groups)


def test_groups_that_do_not_vary():
    with pytest.raises(DataError, match="nothing to compare with"):
        stats.anova({"a": [1, 1], "b": [2, 2]})
    for test in (stats.kruskal_wallis, stats.dunn):
        with pytest.raises(DataError, match="ranks tell no groups apart"):
            test({"a": [3, 3], "b": [3]})


@pytest.mark.parametrize(
    ("items", "raters", "noise", "interaction", "comparisons"),
    [(40, 1, 1.0, 0.0, 1), (30, 3, 0.9, 0.4, 1), (25, 2, 0.7, 0.5, 3)],
)
def test_the_promise_of_power_holds(items, raters, noise, interaction, comparisons):
    difference, rounds = 0.5, 4000
    promised = stats.power_of_ratings(
        difference, items, raters, noise=noise, interaction=interaction, comparisons=comparisons
    )
    rng = np.random.default_rng(1)
    shape = (rounds, 2, items)
    fits = rng.normal(0, interaction, shape) + rng.normal(0, 1, (rounds, 1, items))  # what the item adds for both
    # the same raters rate both systems; each has a mean of their own
    ratings = fits[..., None] + rng.normal(0, 1, (rounds, 1, items, raters)) + rng.normal(0, noise, (*shape, raters))
    ratings[:, 0] += difference
    each = ratings.mean(-1)
    p = scipy.stats.ttest_1samp(each[:, 0] - each[:, 1], 0, axis=1).pvalue
    assert np.mean(p < 0.05 / comparisons) == pytest.approx(promised, abs=0.025)


def test_items_are_the_fewest_that_are_enough():
    about = {"noise": 1.0, "interaction": 0.3, "comparisons": 3}
    items = stats.items_for_ratings(0.25, 3, power=0.9, **about)
    assert stats.power_of_ratings(0.25, items, 3, **about) >= 0.9
    assert stats.power_of_ratings(0.25, items - 1, 3, **about) < 0.9
    assert stats.items_for_ratings(50.0, 3, noise=1.0) == 2
    assert stats.power_of_ratings(0.0, 50, 3, noise=1.0) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": 1}, "two items"),
        ({"raters": 0}, "a rater"),
        ({"noise": -1.0}, "not negative"),
        ({"noise": 0.0}, "both 0"),
        ({"significance": 1.0}, "significance"),
    ],
)
def test_bad_arguments_of_power(change, message):
    with pytest.raises(DataError, match=message):
        stats.power_of_ratings(**({"difference": 1.0, "items": 9, "raters": 1, "noise": 1.0} | change))


def test_what_no_study_finds():
    with pytest.raises(DataError, match="no study finds a difference of 0"):
        stats.items_for_ratings(0.0, 3, noise=1.0)
    with pytest.raises(DataError, match="power lies between"):
        stats.items_for_ratings(1.0, 3, noise=1.0, power=1.0)
