"""What a training brought, as tables: one run before and after; or the runs of several seeds side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rl4lms.errors import plural

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from rl4lms.runs.evaluations import Evaluation
    from rl4lms.stats.paired import Contrast

# What an evaluation reports of every policy, beside the KL per completion.
_DIAGNOSTICS = (
    "kl_per_token",
    "kl_k3_per_token",
    "kl_behaviour_per_token",
    "kl_behaviour_per_sequence",
    "entropy",
    "completion_tokens",
    "terminated",
)


def outcome(folder: Path, everything: bool) -> Iterator[RenderableType]:
    """The last evaluation beside the one before training: the reward first, then the metrics, then the KL."""
    from rich.text import Text

    from rl4lms.cli.common import number
    from rl4lms.runs.evaluations import kept_evaluations, read_evaluation

    steps = {step: path for (step, masked), path in kept_evaluations(folder).items() if not masked}
    start, end = read_evaluation(steps[min(steps)]), read_evaluation(steps[max(steps)])
    shown, hidden = _shown(end.results, everything)
    table = _table("metric", "start", "", "end", "difference ± std. error")
    for key in shown:
        after, before = end.results[key]["mean"], start.results.get(key, {}).get("mean")
        if after is None:
            continue
        if before is None or start is end:
            table.add_row(Text(key), "", "", number(after), "")
            continue
        table.add_row(Text(key), number(before), "→", number(after), _difference(start, end, key))
    yield Text(
        f"Evaluation of {plural(len(end.prompts), f'{end.split} prompt')}, before training and after "
        f"{plural(end.step, 'iteration')}",
        "bold",
    )
    yield table
    yield Text(f"± is over prompts, paired; not over training runs{_more(hidden)}", "dim")
    yield from _below_zero({key: end.results[key]["mean"] for key in shown})


def _difference(start: Evaluation, end: Evaluation, key: str) -> str:
    """Return how much a metric changed, prompt by prompt where it has a value for each."""
    import numpy as np

    from rl4lms.stats import mean_stderr

    before, after = start.values(key), end.values(key)
    if before is None or after is None or start.prompts.keys() != end.prompts.keys():
        return f"{end.results[key]['mean'] - start.results[key]['mean']:+.3g}"
    change = (after - before)[np.isfinite(after - before)]
    if not len(change):
        return ""
    mean, error = mean_stderr(change)
    return f"{mean:+.3g}" + ("" if error is None else f" ± {error:.2g}")


def of_seeds(folders: Mapping[int, Path], everything: bool) -> Iterator[RenderableType]:
    """The last evaluations of one recipe's runs: a column for each seed, then the mean with the interval of `rl4lms
    compare`.

    Args:
        folders: of finished runs, by seed.
        everything: show diagnostics as well.

    Raises:
        DataError: the runs were not evaluated on the same prompts in the same way.
    """
    from rich.text import Text

    from rl4lms.cli.common import number
    from rl4lms.runs.evaluations import kept_evaluations, read_evaluation
    from rl4lms.stats.paired import methods
    from rl4lms.studies.compare import estimate
    from rl4lms.studies.systems import refuse_different

    ends = {}
    for seed, folder in folders.items():
        kept = kept_evaluations(folder)
        ends[seed] = read_evaluation(kept[max(step for step, masked in kept if not masked), False])
    values = {seed: {key: result["mean"] for key, result in end.results.items()} for seed, end in ends.items()}
    shown, hidden = _shown(dict.fromkeys(key for of_one in values.values() for key in of_one), everything)
    refuse_different(list(ends.values()))
    means = {key: estimate(key, list(ends.values())) for key in shown if all(key in of for of in values.values())}
    first = next(iter(ends.values()))
    yield Text(f"Evaluation of {plural(len(first.prompts), f'{first.split} prompt')}, after training, by seed", "bold")
    parts = _in_parts(list(values), _SEEDS_IN_A_LINE)
    for part in parts:
        with_mean = part is parts[-1]
        table = _table("metric", *(f"seed {seed}" for seed in part), *(("mean", "95 % interval") if with_mean else ()))
        for key in shown:
            cells = [number(value) if (value := values[seed].get(key)) is not None else "–" for seed in part]
            table.add_row(Text(key), *cells, *(_mean(means.get(key)) if with_mean else ()))
        yield table
    how = methods((found.over, found.prompts, found.seeds) for found in means.values() if found is not None)
    alone = "; one seed says nothing of other training runs" if len(values) == 1 else ""
    yield Text(f"95 % interval, as of rl4lms compare: {how or 'not known'}{alone}{_more(hidden)}", "dim")
    yield from _below_zero({key: min(of.get(key) or 0.0 for of in values.values()) for key in shown})


_SEEDS_IN_A_LINE = 4  # beside the mean and its interval, in 80 columns


def _mean(found: Contrast | None) -> tuple[str, str]:
    """Return the mean and its interval as text; of a metric that a seed has no value of, neither."""
    from rl4lms.cli.common import number

    if found is None:
        return "–", ""
    return number(found.value), f"{number(found.low)} to {number(found.high)}" if math.isfinite(found.low) else ""


def _in_parts(seeds: list[int], longest: int) -> list[list[int]]:
    return [seeds[start : start + longest] for start in range(0, len(seeds), longest)]


def _shown(keys: Iterable[str], everything: bool) -> tuple[list[str], int]:
    """Return the metrics that a table shows, the reward first and the KL last; and how many it does not."""
    ordered = sorted(keys, key=lambda key: (not key.startswith("reward"), key.startswith("kl_")))
    shown = [key for key in ordered if everything or key not in _DIAGNOSTICS]
    return shown, len(ordered) - len(shown)


def _table(first: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _below_zero(values: Mapping[str, float | None]) -> Iterator[RenderableType]:
    from rich.text import Text

    from rl4lms.log_keys import below_zero

    if said := below_zero(values):
        yield Text(said, "dim")


def _more(hidden: int) -> str:
    return f"; {hidden} more with --all" if hidden else ""
