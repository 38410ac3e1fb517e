"""The training loop: eight numbered steps, the same for every algorithm."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rl4lms import distributed
from rl4lms.algorithms.base import Algorithm
from rl4lms.config.recipe import Recipe
from rl4lms.core.kl import k3, next_kl_coef
from rl4lms.core.sampling import prompt_indices
from rl4lms.errors import (
    BrokenPackageError,
    ConfigError,
    DataError,
    Interrupted,
    MissingExtraError,
    MissingPartError,
    ModelError,
    NonFiniteError,
    RewardError,
    Rl4lmsError,
    StorageError,
)
from rl4lms.models.build import Models
from rl4lms.rewards.background import begin_scoring
from rl4lms.rewards.call import RewardOutput, place_scores
from rl4lms.rewards.composite import state_of
from rl4lms.rewards.faults import counts
from rl4lms.rollout.engine import LocalEngine, log_prob_pass, sampler_error
from rl4lms.rollout.masking import Masking
from rl4lms.runs.checkpoint import Checkpoints, TrainState
from rl4lms.runs.failed_batch import save_batch
from rl4lms.runs.folder import last_good, resume_command, unreadable
from rl4lms.runs.health import Health, HealthError, Warned
from rl4lms.runs.signals import StopSignals
from rl4lms.runs.tracking import RunLog
from rl4lms.training.callbacks import Evaluations, Watchers
from rl4lms.types import Experience, Pass, Reward, Rollout, Sample


@dataclass(slots=True)
class Loop:
    """One run. Every collaborator is given; see `rl4lms.training.run` for how they are put together.

    Attributes:
        evaluate: called with the step; returns numbers with their `eval/` prefix, and keeps the last results.
        watch: tells callbacks what happens, and what they ask for.
        health: of the run so far; None where nobody wants to know.
        warn: called with the warnings that begin with an iteration.
        after_step: called after every iteration with the step and its numbers, for progress display.
        stop: knows of signals that ask to stop.
        check_folder: called before anything is written; raises where the run folder is no longer the one that the run
            began in.
    """

    recipe: Recipe
    models: Models
    algorithm: Algorithm
    masking: Masking | None
    engine: LocalEngine
    reward: Reward
    samples: Sequence[Sample]
    state: TrainState
    checkpoints: Checkpoints
    log: RunLog
    evaluate: Evaluations
    watch: Watchers
    health: Health | None = None
    after_step: Callable[[int, dict[str, float]], None] = lambda step, numbers: None
    warn: Callable[[list[Warned]], None] = lambda warned: None
    stop: StopSignals = field(default_factory=StopSignals)
    check_folder: Callable[[], None] = lambda: None
    clock: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Iterate from `state.step` to the end; evaluate, logs and save on the way.

        Raises:
            Interrupted: a signal asked to stop; the last iteration is finished and saved.
            Rl4lmsError: the message names the iteration, the last good checkpoint and how to go on. Finished iterations
                are saved, unless an update failed half-way, which leaves weights of no iteration.
        """
        with self.stop.during("this iteration", at_once=False):
            # Before training, and where the evaluation of the last iteration did not end
            self.watch.begin(self.state.step)
            if self.state.unlogged is not None:
                self._track(self.state.step, self.state.unlogged)
            while self.state.step < self.recipe.training.iterations and not self.watch.stop:
                self._iterate()
            self.watch.end()

    def _iterate(self) -> None:
        done = self.state.step
        self.watch.before()
        learning_rate = self.algorithm.learner.schedule.set(done)
        with self._telling(f"iteration {done + 1}"):
            try:
                numbers = self.step(done) | {"train/learning_rate": learning_rate}
            except (RewardError, DataError, ModelError):
                # before the update: the weights are still those of the last iteration
                if distributed.from_main(lambda: done > max(self.checkpoints.steps(), default=0)):
                    self._save()
                raise
        self.state.unlogged = numbers
        self.state.step += 1
        self.watch.after(self.state.step, numbers)
        self._track(self.state.step, numbers)
        self.after_step(self.state.step, numbers)

    @contextlib.contextmanager
    def _telling(self, when: str) -> Iterator[None]:
        """Completes the message of an error by when it happened and how to go on."""
        try:
            yield
        except (StorageError, MissingExtraError, MissingPartError, BrokenPackageError):
            raise  # the first says it itself, the others have messages of their own form
        except Rl4lmsError as error:
            last = last_good(self.log.folder)
            where = "no checkpoint was written yet"
            if last is None and unreadable(self.log.folder):
                where = "there are checkpoints, and they cannot be read now"
            if last is not None:
                command = f"{resume_command(self.log.folder)}, in Python: resume=True"
                where = f"last good checkpoint: {last}; continue with: {command}"
            error.args = (f"{when}: {error} ({where})", *error.args[1:])
            raise

    def _save(self) -> None:
        def write() -> None:
            self.check_folder()
            self.log.sync()
            self.checkpoints.save(self.state)

        distributed.only_main(write)

    def _track(self, done: int, numbers: dict[str, float]) -> None:
        r = self.recipe
        distributed.only_main(self.check_folder)
        # 7 track
        last_one = done == r.training.iterations or self.watch.stop
        due = (
            done == 0 or last_one or (r.evaluation.every > 0 and done % r.evaluation.every == 0) or self.watch.evaluate
        )
        # before iteration 1 there is nothing to go on from, and what fails is a mistake in the recipe, told as it is
        with self._telling(f"the evaluation after iteration {done}") if done else contextlib.nullcontext():
            try:
                evaluated = self._evaluated(done) if due else {}
            except (Interrupted, Rl4lmsError):
                if done:
                    self._save()  # with the numbers: a resumed run evaluates and logs them
                raise
        numbers = numbers | evaluated
        warned = [] if self.health is None else self.health.see(done, numbers)
        if self.health is not None:
            numbers["train/health_warnings"] = float(self.health.active)
        distributed.only_main(lambda: self.log.log(done, numbers))
        self.warn(warned)
        self.state.unlogged = None
        if due:
            self.watch.evaluated(done, evaluated)
            last_one = last_one or self.watch.stop
        # 8 save
        is_best = self.state.best.get("step") == done  # the untrained model may turn out to be the best
        every = r.checkpoint.every
        wanted = done > 0 and (last_one or (every > 0 and done % every == 0) or self.watch.save)
        stop = distributed.any_of(self.stop.received is not None) and not last_one
        ill = bool(warned) and r.training.on_health == "stop" and not last_one
        if is_best or wanted or ((stop or ill) and done > 0):
            with self._telling(f"iteration {done}"):
                self._save()
            self.watch.saved()
        if ill:
            with self._telling(f"iteration {done}"):
                raise HealthError(f"{warned[0]}. To go on all the same, set training.on_health to warn")
        if stop:
            raise Interrupted(self.stop.received or "a signal to another process")

    def step(self, step: int) -> dict[str, float]:
        """Return one iteration; `step` counts from 0. Returns its numbers with their prefixes."""
        r, models = self.recipe, self.models
        self.clock.clear()
        # 1 prompts
        chosen = prompt_indices(len(self.samples), r.seed, step, r.training.prompts_per_iteration)
        samples = [self.samples[i] for i in chosen]
        # 2 rollout, and the log-prob pass
        n, rule = r.rollout.completions_per_prompt, None if self.masking is None else self.masking.rule
        with self._timed("rollout"):
            how: dict[str, Any] = {"stream": "train", "step": step, "completions_per_prompt": n, "mask_rule": rule}
            rollout = self.engine.rollout(samples, r.rollout, **how)
        reward = begin_scoring(self.reward, rollout, r.reward_faults) if distributed.is_main() else None
        with self._timed("pass"):
            # the sampler's numbers are the pass's, which some rows are compared with
            rows, reference, values = self._verified(rollout, step), Pass(), self.algorithm.needs_value
            how = {"temperature": r.rollout.temperature, "values": values and rows is None}
            again = log_prob_pass(models.policy, rollout, rows, **how)
            difference = sampler_error(models.policy, rollout, again, rows)
            current = again if rows is None else rollout.sampled
            assert current is not None
            if values and current.values is None:
                of_another = log_prob_pass(models.policy, rollout, logprobs=False, values=True)
                current = current._replace(values=of_another.values)
            if self.algorithm.needs_reference:
                reference = log_prob_pass(models.ref_policy, rollout, masked=False, entropy=False)
        assert current.logprobs is not None and current.full_logprobs is not None
        # 3 reward, which may run beside the pass
        with self._timed("reward"):
            output = self._scores(reward)
        scores, row_mask = place_scores(output, rollout.completion_mask)
        self._note_faults(step, output, row_mask)
        # 4 credit
        experience = Experience(rollout, current.logprobs, scores, row_mask, reference.full_logprobs)
        experience.values = current.values
        if reference.full_logprobs is not None:
            kl = (current.full_logprobs - reference.full_logprobs) * rollout.completion_mask
            # The sampler rounds otherwise than a pass does: what is no larger than that is no KL, and without a signal
            # would be all there is to learn from
            rounding = 0.0 if rows is None else min(max(4 * difference, 1e-6), 1e-4)
            experience.kl = kl.masked_fill(kl.abs() <= rounding, 0.0)
        self.algorithm.credit(experience, self.state.kl_coef)
        # 5 advantages
        self.algorithm.advantages(experience)
        # 6 update
        with self._timed("update"):
            try:
                stats = self.algorithm.update(experience, step)
            except NonFiniteError as error:
                save = functools.partial(save_batch, self.log.folder, experience, step + 1, error)
                error.args = (f"{error}; {distributed.from_main(save)}",)
                raise
        if self.masking is not None:
            stats |= self.masking.after_update(step, rollout)
        assert current.entropy is not None and current.kept_mass is not None
        numbers = {f"train/{name}": value for name, value in stats.items()} | {"rollout/sampler_error": difference}
        numbers |= self._rollout_numbers(experience, output, current.entropy, current.kept_mass) | self._times(rollout)
        if bool(row_mask.any()) and experience.kl is not None:
            self.state.kl_coef = next_kl_coef(self.state.kl_coef, r.kl.kl_target, numbers["rollout/kl_per_token"])
        self.state.reward = state_of(self.reward)  # of iterations that go on, as `skipped`
        return numbers

    def _verified(self, rollout: Rollout, step: int) -> Tensor | None:
        """Return rows of which the log-probs are computed again; None: of all, and those are taken, since in less than
        float32 the two differ by more than the last digits.
        """
        n, wanted = len(rollout), self.recipe.rollout.verify_rows
        if wanted is None or self.models.policy.compute_dtype != torch.float32:
            return None
        wanted = min(wanted, n) if step else n
        return ((torch.arange(wanted) * n // wanted + step) % n).sort().values.to(rollout.prompt_ids.device)

    def _scores(self, reward: Any) -> RewardOutput:
        """Wait for the reward, which the first process computes for all: it sees the whole iteration, once."""
        output: RewardOutput | None = distributed.only_main(reward)
        told: Any = distributed.from_main(lambda: [output.scores, output.dense] if output else [])
        return output or RewardOutput(*told)

    def _note_faults(self, step: int, output: RewardOutput, row_mask: Tensor) -> None:
        """Tell the first faults of the reward, and stop a run that has gone on without any score for too long."""
        distributed.only_main(lambda: self.log.log_faults(step + 1, "rollout", output.faults))
        skipped = 0 if bool(row_mask.any()) else self.state.skipped + 1
        if skipped >= self.recipe.reward_faults.max_skipped:
            faults = [f"; the last fault: {fault.message}" for fault in output.faults]
            last = faults[0] if faults else ": the reward returned None for every row"
            what_to_do = "Mend the reward, and continue with --resume (resume=True); or raise reward_faults.max_skipped"
            raise RewardError(f"{skipped} iterations in a row had no score at all{last}. {what_to_do}")
        self.state.skipped = skipped  # only of iterations that go on: the state may be saved, and this one be repeated

    def _rollout_numbers(
        self, e: Experience, output: RewardOutput, entropy: Tensor, kept_mass: Tensor
    ) -> dict[str, float]:
        mask, rollout, mean = e.mask, e.rollout, distributed.mean
        numbers = {
            "score": mean(e.scores.sum(-1), e.row_mask),
            "score_std": float(e.scores.sum(-1)[e.row_mask].std(correction=0)) if e.row_mask.any() else float("nan"),
            "unique_completions": len(set(rollout.completions)) / len(rollout),
            "reward": mean(e.rewards.sum(-1), e.row_mask),
            "entropy": mean(entropy, mask),
            "removed_mass": 1 - mean(kept_mass, mask),
            "completion_tokens": mean(rollout.completion_mask.sum(-1).float()),
            "terminated": mean(rollout.terminated.float()),
            "masked_rows": float((~e.row_mask).sum()),
            **counts(output.faults),
            "skipped_in_a_row": float(self.state.skipped),
            "truncated_prompts": float(self.engine.encoder.truncated(rollout.samples[:: rollout.group_size])),
        }
        if e.kl is not None and e.ref_logprobs is not None:
            numbers |= {
                "kl_coef": self.state.kl_coef,
                "kl_per_token": mean(e.kl, mask),
                "kl_k3_per_token": mean(k3(e.kl), mask),
                "kl_per_sequence": mean(e.kl.sum(-1), e.row_mask),
                "kl_behaviour_per_token": mean(e.logprobs - e.ref_logprobs, mask),
            }
        for name, part in output.parts.items():
            values = [v for v in part if v is not None]
            numbers[f"score/{name}"] = mean(torch.tensor(values)) if values else float("nan")
        numbers |= {f"score/{name}": value for name, value in output.numbers.items()}
        return {f"rollout/{name}": value for name, value in numbers.items()}

    def _evaluated(self, step: int) -> dict[str, float]:
        with self.stop.during("the evaluation", at_once=True):
            numbers = self.evaluate(step)
        key, mode = self.recipe.checkpoint.best, self.recipe.checkpoint.best_mode
        if key is not None:
            value = numbers.get(key)
            if value is None:
                raise ConfigError(
                    f"checkpoint.best: no evaluation key {key!r}; there are: {', '.join(sorted(numbers))}"
                )
            sign = 1 if mode == "max" else -1
            # NaN, as where every row of the reward was left out, is no best
            if value == value and (not self.state.best or sign * value > sign * self.state.best["value"]):
                self.state.best = {"value": value, "step": step}
        return numbers

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.clock[name] = time.perf_counter() - start

    def _times(self, rollout: Rollout) -> dict[str, float]:
        total = sum(self.clock.values())
        times = {f"time/{name}_s": seconds for name, seconds in self.clock.items()}
        return times | {"time/iteration_s": total, "time/tokens_per_s": float(rollout.completion_mask.sum()) / total}
