"""An iteration of TRL 1.16's `GRPOTrainer` or `RLOOTrainer`: 16 prompts, 4 completions each, minibatches of 16.

GRPO passes 4 times over the completions (`num_iterations`), with the KL from the reference in the loss and the
loss of the paper (`loss_type="grpo"`); RLOO once, with the KL in the reward. What favours TRL, or is none of its own:
gradient checkpointing and bfloat16, both on by default, are off, as is dropout, and nothing is logged. What its
structure forces: the minibatches are divided once for all passes, and hold rows of any prompts; here they are drawn
anew and hold whole groups.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from datasets import Dataset
from same_work import GROUP, KL_COEF, LEARNING_RATE, MAX_GRAD_NORM, MINIBATCH, NEW_TOKENS, Measurement, Work, reward
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer


class Clock(TrainerCallback):  # type: ignore[misc]
    """Clocks iterations, of `steps` optimiser steps each: the first step of an iteration begins with its rollout."""

    def __init__(self, measurement: Measurement) -> None:
        self.measurement = measurement

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step % self.measurement.work.steps == 0:
            self.measurement.started()

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step % self.measurement.work.steps == 0:
            self.measurement.ended()


def main() -> None:
    """Measure."""
    work = Work(["grpo", "rloo"])
    measurement, tokenizer = Measurement(work), work.tokenizer()
    no_dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    model = AutoModelForCausalLM.from_pretrained(
        work.model, use_safetensors=True, trust_remote_code=False, **no_dropout
    )
    assert not any(m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)), "dropout is on"

    def score(prompts: list[str], completions: list[str], completion_ids: list[list[int]], **columns: Any) -> Any:
        measurement.rollout(tokenizer(prompts)["input_ids"], map(len, completion_ids))
        return reward(completions)

    Config, Trainer = {"grpo": (GRPOConfig, GRPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}[work.algorithm]
    own = {"loss_type": "grpo"} if work.algorithm == "grpo" else {}
    with tempfile.TemporaryDirectory() as output:
        config = Config(
            output_dir=output,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            optim="adamw_torch_fused",
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=MAX_GRAD_NORM,
            per_device_train_batch_size=MINIBATCH,
            gradient_accumulation_steps=1,
            steps_per_generation=work.steps // work.passes,
            num_iterations=work.passes,
            num_generations=GROUP[work.algorithm],
            max_completion_length=NEW_TOKENS,
            max_steps=work.steps * work.iterations,
            beta=KL_COEF,
            temperature=1.0,
            disable_dropout=True,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **own,
        )
        trainer = Trainer(
            model=model,
            reward_funcs=score,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in work.prompts]),
            processing_class=tokenizer,
            callbacks=[Clock(measurement)],
        )
        assert trainer.ref_model is not None
        assert trainer.ref_model.dtype == torch.float32
        trainer.model.generate(torch.tensor(work.ids[:2]), max_new_tokens=NEW_TOKENS, do_sample=True, pad_token_id=0)
        trainer.train()
    measurement.report("trl", trainer.accelerator.unwrap_model(trainer.model).named_parameters)


if __name__ == "__main__":
    main()
