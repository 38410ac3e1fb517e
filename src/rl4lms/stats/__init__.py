"""Error bars, tests and correlations. Every random draw is seeded, so a reported interval can be computed again.

Fewer than 50 values. A percentile bootstrap resamples the values it has, and of few values that is too narrow: a
nominal 95 % interval of the mean of 3, 5, 10 normal values covers the mean in 73, 84, 89 % of cases. Below 50 values
intervals come from Hall's transformation of the t statistic, which corrects it for skewness (`mean_ci`), or, for
correlations of pairs, from Fisher's z and the bootstrap together (`correlation`); `Estimate.method` says which.
"""

from __future__ import annotations

from rl4lms.stats.agreement import krippendorff_alpha
from rl4lms.stats.base import BOOTSTRAP, FISHER, SKEWED_T, Estimate, Kind
from rl4lms.stats.classification import Calibration, calibration, roc_auc
from rl4lms.stats.clustered import clustered_correlation, clustered_estimate, clustered_share, mean_of_clusters
from rl4lms.stats.correlations import correlation, partial_correlation, williams_test
from rl4lms.stats.groups import GroupTest, PairTest, anova, dunn, kruskal_wallis, tukey_hsd
from rl4lms.stats.hierarchical import Resampled, hierarchical_bootstrap
from rl4lms.stats.holm import holm
from rl4lms.stats.improvement import probability_of_improvement
from rl4lms.stats.intervals import bootstrap_ci, bootstrap_stderr, iqm, mean_ci, mean_stderr, stratified_bootstrap_ci
from rl4lms.stats.paired import Contrast, contrast
from rl4lms.stats.power import items_for_ratings, power_of_ratings
from rl4lms.stats.preferences import Strengths, bradley_terry
from rl4lms.stats.ranking import darr_tau, summary_level_correlation, system_level_correlation
from rl4lms.stats.ranks import Rank, rank_intervals
from rl4lms.stats.significance import paired_bootstrap, paired_permutation_test, paired_randomisation_test

__all__ = [
    "BOOTSTRAP",
    "FISHER",
    "SKEWED_T",
    "Calibration",
    "Contrast",
    "Estimate",
    "GroupTest",
    "Kind",
    "PairTest",
    "Rank",
    "Resampled",
    "Strengths",
    "anova",
    "bootstrap_ci",
    "bootstrap_stderr",
    "bradley_terry",
    "calibration",
    "clustered_correlation",
    "clustered_estimate",
    "clustered_share",
    "contrast",
    "correlation",
    "darr_tau",
    "dunn",
    "hierarchical_bootstrap",
    "holm",
    "iqm",
    "items_for_ratings",
    "krippendorff_alpha",
    "kruskal_wallis",
    "mean_ci",
    "mean_of_clusters",
    "mean_stderr",
    "paired_bootstrap",
    "paired_permutation_test",
    "paired_randomisation_test",
    "partial_correlation",
    "power_of_ratings",
    "probability_of_improvement",
    "rank_intervals",
    "roc_auc",
    "stratified_bootstrap_ci",
    "summary_level_correlation",
    "system_level_correlation",
    "tukey_hsd",
    "williams_test",
]
