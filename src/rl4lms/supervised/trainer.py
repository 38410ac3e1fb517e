"""The HF `Trainer` as warm start and reward models use it: quiet, without files of its own, stopping at a loss that is
not finite.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from rl4lms import distributed
from rl4lms.errors import NonFiniteError

Progress = Callable[[int, int, float], None]
_LOGGED = 20  # lines of a log, about


def without_loss(progress: Callable[[int, int], None] | None) -> Progress | None:
    """Return what calls `progress` with (step, of)."""
    return None if progress is None else lambda step, of, loss: progress(step, of)


class _Progress(TrainerCallback):
    """Reports every step with its loss, and lets the `Trainer` log about `_LOGGED` of them, the last among them."""

    def __init__(self, trainer: _QuietTrainer, report: Progress | None) -> None:
        self._trainer, self._report = trainer, report

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self._report is not None:
            self._report(state.global_step, state.max_steps, self._trainer.step_loss)
        self._trainer.step_loss = 0.0
        every = max(1, state.max_steps // _LOGGED)
        control.should_log = state.global_step % every == 0 or state.global_step in (1, state.max_steps)
        return control


class _FiniteGradients(TrainerCallback):
    """Stops before an optimiser step that would ruin the weights."""

    def __init__(self, what: str) -> None:
        self._what = what

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any
    ) -> None:
        gradients = [p.grad for p in model.parameters() if p.grad is not None] if model is not None else []
        if gradients and not torch.stack([g.isfinite().all() for g in gradients]).all():
            raise NonFiniteError(
                f"{self._what}: the gradient is nan or infinite at step {state.global_step + 1}; lower the learning "
                f"rate"
            )


class _QuietTrainer(Trainer):
    """The `Trainer` without its printed log lines; ours are in the run folder."""

    what: str
    step_loss = 0.0  # of the passes of this step so far, each of which has its share of the step's loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        self.step_loss += loss.item()
        if not loss.isfinite():
            raise NonFiniteError(
                f"{self.what}: the loss is {loss.item()} at step {self.state.global_step + 1}; lower the learning rate"
            )
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        self.state.log_history.append({**logs, "step": self.state.global_step})


def run_trainer(
    what: str,
    model: nn.Module,
    rows: Sequence[Any],
    collate: Callable[[list[Any]], Any],
    *,
    device: torch.device,
    seed: int,
    progress: Progress | None = None,
    model_accepts_loss_kwargs: bool | None = None,
    **arguments: Any,
) -> list[dict[str, Any]]:
    """Train `model` in place.

    Args:
        what: is trained; named in messages.
        model: returns a loss.
        rows, collate: the data, and how rows become a batch.
        device: where the model is.
        seed: of data order and dropout.
        progress: called with (step, of, loss of the step).
        model_accepts_loss_kwargs: whether the model divides by `num_items_in_batch` itself; the `Trainer` guesses when
            None.
        arguments: of `TrainingArguments`.

    Returns:
        The `Trainer`'s log.

    Raises:
        NonFiniteError: the loss became NaN or infinite.
    """
    # The Trainer's own files are of no use afterwards: they go to a temporary folder, and only `save_pretrained` output
    # is kept.
    with (
        tempfile.TemporaryDirectory(prefix="rl4lms-trainer-", ignore_cleanup_errors=True) as scratch,
        distributed.alone(),
    ):
        settings = TrainingArguments(
            output_dir=scratch,
            seed=seed,
            data_seed=seed,
            save_strategy="no",
            logging_strategy="no",  # `_Progress` says when
            report_to="none",
            disable_tqdm=True,
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=False,
            **arguments,
        )
        trainer = _QuietTrainer(model=model, args=settings, train_dataset=rows, data_collator=collate)
        trainer.what = what
        if model_accepts_loss_kwargs is not None:
            trainer.model_accepts_loss_kwargs = model_accepts_loss_kwargs
        trainer.add_callback(_FiniteGradients(what))
        trainer.add_callback(_Progress(trainer, progress))
        trainer.train()
    return trainer.state.log_history
