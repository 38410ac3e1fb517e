"""The warm start: what is in the loss, what is written, and that it learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import rl4lms
from rl4lms.config.algorithms import SupervisedConfig
from rl4lms.core.padding import pad
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy
from rl4lms.training.supervised import _Likelihood, fit
from rl4lms.types import Sample
from tests.runs import small_recipe
from tests.tiny import ENCODER_DECODER, number_tokenizer, tiny_lm

TEXTS = [Sample(str(i), f"{i % 5}", (f"{i % 5 + 1} {i % 5 + 2}",)) for i in range(40)]


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5-untied", "bart", "bert2bert"])
def test_the_loss_is_hugging_faces_over_completion_and_eos(family: str) -> None:
    """Prompt tokens are out of the loss and EOS is in it: compared with HF's own loss on hand-made labels."""
    lm = tiny_lm(family)
    policy = Policy(lm, special_tokens(lm, None))
    prompt, target = [5, 6, 7], [8, 9, 1]
    prompts, targets = pad([prompt], 0, policy.family.padding_side), pad([target], 0, "right")
    batch = dict(zip(("prompt_ids", "prompt_mask", "completion_ids", "completion_mask"), (*prompts, *targets), strict=True))
    ours = _Likelihood(policy)(labels=targets[0], **batch)["loss"]
    if family in ENCODER_DECODER:
        prefix = list(policy.tokens.decoder_prefix)
        logits = lm(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([prefix + target[:-1]])).logits[0, len(prefix) - 1 :]
        theirs = torch.nn.functional.cross_entropy(logits, torch.tensor(target))
    else:
        theirs = lm(input_ids=torch.tensor([prompt + target]), labels=torch.tensor([[-100] * 3 + target])).loss
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "t5-untied"])
def test_learns_its_targets_and_to_stop(family: str) -> None:
    torch.manual_seed(0)
    tokenizer = number_tokenizer()
    lm = tiny_lm(family, vocab_size=len(tokenizer))
    prompts = tokenizer([s.prompt for s in TEXTS], add_special_tokens=False)["input_ids"]
    log = fit(lm, tokenizer, TEXTS, SupervisedConfig(max_steps=80, batch_size=20, learning_rate=1e-2), prompt_ids=prompts, seed=0)
    assert log[-1]["loss"] < 0.05 < log[0]["loss"]
    assert not lm.training
    side = "right" if lm.config.is_encoder_decoder else "left"
    ids, mask = pad(prompts[:5], 0, side)  # type: ignore[arg-type]
    options = {"attention_mask": mask.long(), "max_new_tokens": 6, "do_sample": False}
    out = lm.generate(input_ids=ids, **options)
    texts = tokenizer.batch_decode(out if lm.config.is_encoder_decoder else out[:, ids.shape[1] :], skip_special_tokens=True)
    assert texts == [s.references[0] for s in TEXTS[:5]]


def test_only_the_saved_model_enters_the_run_folder_and_rl_starts_from_it(tmp_path: Path) -> None:
    data = tmp_path / "targets.jsonl"
    data.write_text("".join(json.dumps({"prompt": s.prompt, "completion": s.references[0]}) + "\n" for s in TEXTS))
    recipe = small_recipe(
        tmp_path,
        data={"train": str(data), "validation": str(data)},
        supervised={"max_steps": 5, "batch_size": 8},
        training={"iterations": 1},
    )
    result = rl4lms.train(recipe, progress=False)
    written = {path.name for path in (result.folder / "supervised").iterdir()}
    assert written <= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    line = json.loads((result.folder / "metrics.jsonl").read_text().splitlines()[1])
    assert abs(line["rollout/kl_per_token"]) < 1e-6  # the warm-started model is the reference
    assert len((result.folder / "supervised.jsonl").read_text().splitlines()) >= 1


def test_supervised_as_the_whole_algorithm(tmp_path: Path) -> None:
    data = tmp_path / "targets.jsonl"
    data.write_text("".join(json.dumps({"prompt": s.prompt, "references": [s.references[0]]}) + "\n" for s in TEXTS))
    recipe = small_recipe(
        tmp_path,
        data={"train": str(data), "validation": str(data)},
        algorithm={"name": "supervised"},
        supervised={"max_steps": 60, "batch_size": 20, "learning_rate": 1e-2},
        reward=None,
        evaluation={"metrics": [{"name": "reference_perplexity"}], "every": 0, "prompts": 8},
    )
    result = rl4lms.train(recipe, progress=False)
    assert result.metrics["eval/reference_perplexity"] < 2
    assert (result.model / "model.safetensors").is_file()
