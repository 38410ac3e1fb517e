"""What the loop calls on the way: evaluations, and whoever watches."""

from __future__ import annotations

from dataclasses import dataclass, field

from rl4lms import distributed
from rl4lms.algorithms.base import Algorithm
from rl4lms.evaluation.evaluator import EvalResult, Evaluator
from rl4lms.runs.display import Display
from rl4lms.runs.tracking import RunLog


@dataclass(slots=True)
class Evaluations:
    """Evaluates the policy when the loop asks for it; records faults and samples, and show numbers and texts.

    Attributes:
        evaluator: decodes and measures.
        algorithm: whose mask is decoded in beside the plain decoding, where the recipe asks for that; None without RL.
        log, display: where texts and faults go.
        samples: how many texts are kept of each evaluation.
        results: those of the last evaluation, by prefix: `eval/`, and `eval/masked/` inside the mask.
    """

    evaluator: Evaluator
    algorithm: Algorithm | None
    log: RunLog
    display: Display
    samples: int
    results: dict[str, EvalResult] = field(default_factory=dict)

    def __call__(self, step: int) -> dict[str, float]:
        """Evaluate after iteration `step`; return means by log key."""
        self.results["eval/"] = self.evaluator()
        rule = self.algorithm.mask_rule() if self.algorithm is not None else None
        if self.evaluator.settings.mask and rule is not None:
            self.results["eval/masked/"] = self.evaluator(rule)
        numbers: dict[str, float] = {}
        for prefix, result in self.results.items():
            numbers |= result.numbers(prefix)
        shown = self.results["eval/"].samples[: self.samples]

        def record() -> None:
            self.log.log_faults(
                step, "evaluation", [fault for result in self.results.values() for fault in result.faults]
            )
            self.log.log_samples(step, shown)
            self.display.evaluation(step, numbers, shown)

        distributed.only_main(record)
        return numbers
