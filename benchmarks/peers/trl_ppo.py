"""An iteration of TRL 0.11.4's `PPOTrainer`, the last with `step(queries, responses, scores)`.

A value head on the trunk, a copy of the model as the reference, 4 epochs of minibatches of 16 drawn anew in each,
AdamW. What favours TRL, or is none of its own: dropout is off (the models' configs have 0.1, and this library trains
without), all prompts are generated in one batch (`PPOTrainer.generate` takes 4 at a time unless told), the KL
coefficient is fixed, nothing is logged. What its structure forces: the log-probs of the rollout come from a pass of
their own, and logits and log-probs are those of all tokens, the prompts' too.
"""

from __future__ import annotations

import warnings

import torch
from same_work import EPOCHS, KL_COEF, LEARNING_RATE, MAX_GRAD_NORM, MINIBATCH, NEW_TOKENS, Measurement, Work, reward
from trl import AutoModelForCausalLMWithValueHead, PPOConfig, PPOTrainer


def main() -> None:
    """Measure."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    work = Work(["ppo"])
    measurement, tokenizer = Measurement(work), work.tokenizer()
    no_dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_dropout_prob"), 0.0)
    model = AutoModelForCausalLMWithValueHead.from_pretrained(
        str(work.model), use_safetensors=True, trust_remote_code=False, **no_dropout
    )
    assert not any(m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)), "dropout is on"
    config = PPOConfig(
        learning_rate=LEARNING_RATE,
        batch_size=len(work.prompts),
        mini_batch_size=MINIBATCH,
        ppo_epochs=EPOCHS,
        adap_kl_ctrl=False,
        init_kl_coef=KL_COEF,
        max_grad_norm=MAX_GRAD_NORM,
        gradient_checkpointing=False,
        accelerator_kwargs={"cpu": True},
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    trainer = PPOTrainer(config, model, tokenizer=tokenizer, optimizer=optimizer)
    queries = [torch.tensor(ids) for ids in tokenizer(work.prompts)["input_ids"]]
    # An end of a text is looked for where padding is removed: there is none
    sampling = {"do_sample": True, "top_k": 0, "top_p": 1.0, "pad_token_id": tokenizer.pad_token_id}
    how = {"return_prompt": False, "remove_padding": False, **sampling}
    trainer.generate(queries[:2], batch_size=2, max_new_tokens=NEW_TOKENS, **how)
    for _ in range(work.iterations):
        measurement.started()
        responses = trainer.generate(queries, batch_size=len(queries), max_new_tokens=NEW_TOKENS, **how)
        scores = [torch.tensor(score) for score in reward(tokenizer.batch_decode(responses))]
        trainer.step(queries, responses, scores)
        measurement.ended()
        measurement.rollout((query.tolist() for query in queries), map(len, responses))
    lm = trainer.accelerator.unwrap_model(trainer.model).pretrained_model
    measurement.report("trl", lm.named_parameters)


if __name__ == "__main__":
    main()
