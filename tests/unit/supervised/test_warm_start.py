"""The warm start: what is in the loss, what is written, and that it learns."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

import rl4lms
from rl4lms.checks.doctor import examine
from rl4lms.checks.dry_run import describe
from rl4lms.config.algorithms import SupervisedConfig
from rl4lms.config.data import PromptConfig
from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.core.padding import pad
from rl4lms.errors import ConfigError, DataError, NonFiniteError
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy
from rl4lms.rollout.engine import LocalEngine
from rl4lms.supervised.warm_start import _likeliest_end, _Likelihood, _rows, fit
from rl4lms.training.run import run
from rl4lms.types import Sample
from tests.marks import slow_but
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
    batch = dict(
        zip(("prompt_ids", "prompt_mask", "completion_ids", "completion_mask"), (*prompts, *targets), strict=True)
    )
    ours = _Likelihood(policy)(labels=targets[0], **batch)["loss"]
    if family in ENCODER_DECODER:
        prefix = list(policy.tokens.decoder_prefix)
        logits = lm(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([prefix + target[:-1]])).logits[
            0, len(prefix) - 1 :
        ]
        theirs = torch.nn.functional.cross_entropy(logits, torch.tensor(target))
    else:
        theirs = lm(input_ids=torch.tensor([prompt + target]), labels=torch.tensor([[-100] * 3 + target])).loss
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("family", slow_but(["gpt2", "t5-untied"], ["gpt2"]))
def test_learns_its_targets_and_to_stop(family: str) -> None:
    torch.manual_seed(0)
    tokenizer = number_tokenizer()
    lm = tiny_lm(family, vocab_size=len(tokenizer))
    prompts = tokenizer([s.prompt for s in TEXTS], add_special_tokens=False)["input_ids"]
    log = fit(
        lm,
        tokenizer,
        TEXTS,
        SupervisedConfig(max_steps=80, batch_size=20, learning_rate=1e-2),
        prompt_ids=prompts,
        seed=0,
    )
    assert log[-1]["loss"] < 0.05 < log[0]["loss"]
    assert not lm.training
    side = "right" if lm.config.is_encoder_decoder else "left"
    ids, mask = pad(prompts[:5], 0, side)  # type: ignore[arg-type]
    options = {"attention_mask": mask.long(), "max_new_tokens": 6, "do_sample": False}
    out = lm.generate(input_ids=ids, **options)
    texts = tokenizer.batch_decode(
        out if lm.config.is_encoder_decoder else out[:, ids.shape[1] :], skip_special_tokens=True
    )
    assert texts == [s.references[0] for s in TEXTS[:5]]


def run_fit(lm: PreTrainedModel, samples: list[Sample], **settings: object) -> None:
    tokenizer = number_tokenizer()
    prompts = tokenizer([s.prompt for s in samples], add_special_tokens=False)["input_ids"]
    config = SupervisedConfig(**{"max_steps": 1, "batch_size": 20, "learning_rate": 1e-2, **settings})
    fit(lm, tokenizer, samples, config, prompt_ids=prompts, seed=0)


def test_no_eos_is_learnt_where_a_target_was_cut(caplog: pytest.LogCaptureFixture) -> None:
    lm = tiny_lm("gpt2", vocab_size=len(number_tokenizer()))
    run_fit(lm, TEXTS, max_steps=80, max_target_tokens=2)
    assert caplog.messages[0].startswith("warm start: 40 of 40 targets are longer than supervised.max_target_tokens=2")
    tokenizer = number_tokenizer()
    out = lm.generate(
        **tokenizer("3", return_tensors="pt", return_token_type_ids=False), max_new_tokens=2, do_sample=False
    )
    assert tokenizer.decode(out[0, 1:]) == "4 5"


def test_a_target_that_just_fits_keeps_its_eos(caplog: pytest.LogCaptureFixture) -> None:
    lm = tiny_lm("gpt2", vocab_size=len(number_tokenizer()))
    run_fit(lm, TEXTS, max_steps=80, max_target_tokens=3)
    assert not [message for message in caplog.messages if "warm start" in message]
    tokenizer = number_tokenizer()
    out = lm.generate(
        **tokenizer("3", return_tensors="pt", return_token_type_ids=False), max_new_tokens=3, do_sample=False
    )
    assert tokenizer.decode(out[0, 1:]) == "4 5 </s>"


def test_targets_outside_the_vocabulary_are_named() -> None:
    with pytest.raises(DataError, match=r"the target of 'b' has token id 18, outside the model's vocabulary of 10"):
        run_fit(tiny_lm("gpt2", vocab_size=10), [Sample("a", "1", ("2 3",)), Sample("b", "1", ("2 15",))])


@pytest.mark.parametrize(
    ("family", "prompt", "target", "message"),
    [
        ("gpt2", 60, 20, "prompt and target of 'a' have 81 tokens, but the model has only 80 positions"),
        ("gpt2", 60, 19, None),
        ("bart", 60, 60, None),
        ("bart", 81, 5, "prompt of 'a' have 81 tokens, but the model has only 80 positions"),
        ("bart", 5, 90, "target of 'a' have 91 tokens"),
        ("t5", 200, 100, None),
    ],
)
def test_rows_beyond_the_positions_are_refused_before_training(
    family: str, prompt: int, target: int, message: str | None
) -> None:
    sample = Sample("a", " ".join(["1"] * prompt), (" ".join(["2"] * target),))  # EOS comes on top
    lm = tiny_lm(family, vocab_size=len(number_tokenizer()))
    if message is None:
        run_fit(lm, [sample])
    else:
        with pytest.raises(ConfigError, match=message):
            run_fit(lm, [sample])


def test_a_diverging_warm_start_saves_nothing(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, supervised={"max_steps": 5, "batch_size": 8, "learning_rate": 1e30})
    with pytest.raises(NonFiniteError, match=r"warm start: the loss is (nan|inf) at step 2"):
        rl4lms.train(recipe, progress=False)
    assert not (tmp_path / "run" / "supervised").exists()


def test_a_gradient_that_is_not_finite_stops_before_the_step() -> None:
    lm = tiny_lm("gpt2", vocab_size=len(number_tokenizer()))
    before = {name: p.detach().clone() for name, p in lm.named_parameters()}
    lm.transformer.ln_f.weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(
        NonFiniteError, match="warm start: the gradient is nan or infinite at step 1; lower the learning rate"
    ):
        run_fit(lm, TEXTS, max_steps=1)
    assert all(torch.equal(p, before[name]) for name, p in lm.named_parameters())


def test_weights_that_the_last_step_ruined() -> None:
    """The gradient was finite, the step was not."""
    lm = tiny_lm("gpt2", vocab_size=len(number_tokenizer()))
    with pytest.raises(
        NonFiniteError, match="warm start: a weight of the model is nan or infinite after the last step"
    ):
        run_fit(lm, TEXTS, max_steps=1, learning_rate=1e39)


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
    assert written <= {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    line = json.loads((result.folder / "metrics.jsonl").read_text().splitlines()[1])
    assert abs(line["rollout/kl_per_token"]) < 1e-6  # the warm-started model is the reference
    assert len((result.folder / "supervised.jsonl").read_text().splitlines()) >= 1


def test_supervised_as_the_whole_algorithm(tmp_path: Path) -> None:
    data = tmp_path / "targets.jsonl"
    data.write_text("".join(json.dumps({"prompt": s.prompt, "references": [s.references[0]]}) + "\n" for s in TEXTS))
    recipe = small_recipe(
        tmp_path,
        data={"train": str(data), "validation": str(data)},
        algorithm=None,
        supervised={"max_steps": 60, "batch_size": 20, "learning_rate": 1e-2},
        reward=None,
        evaluation={"metrics": [{"name": "reference_perplexity"}], "every": 0, "prompts": 8},
    )
    result = rl4lms.train(recipe, progress=False)
    assert result.metrics["eval/reference_perplexity"] < 2
    assert (result.model / "model.safetensors").is_file()


def test_without_an_algorithm_the_warm_start_must_be_said(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, algorithm=None, supervised=None)
    for use in (rl4lms.train, describe):
        with pytest.raises(
            ConfigError, match="algorithm: null, and there is no `supervised`: nothing would be trained"
        ):
            use(recipe)
    assert not (tmp_path / "run").exists()
    (verdict,) = examine(recipe, tmp_path)
    assert (verdict.status, verdict.figure) == ("fail", "nothing to train")
    assert "warm start" in {line.name for line in describe(small_recipe(tmp_path, algorithm=None, supervised={}))}


def with_several_ends(first_trained: int, eos: list[int]) -> PreTrainedModel:
    """A model that ends its texts on one id, and then is said to have several."""
    lm = tiny_lm("gpt2", vocab_size=len(number_tokenizer()))
    lm.generation_config.eos_token_id = first_trained
    run_fit(lm, TEXTS, max_steps=80)
    lm.generation_config.eos_token_id = eos
    return lm


@pytest.mark.parametrize(("end", "eos"), slow_but([(1, [2, 22, 1]), (22, [1, 2, 22])], [(22, [1, 2, 22])]))
def test_targets_end_on_what_the_model_ends_on(end: int, eos: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the order of the ids, and whichever the tokenizer names (it is 1)."""
    lm = with_several_ends(end, eos)
    learnt: list[list[int]] = []
    forward = _Likelihood.forward

    def record(self: _Likelihood, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
        learnt.extend(row[row >= 0].tolist() for row in batch["labels"])
        return forward(self, **batch)

    with caplog.at_level("INFO"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Likelihood, "forward", record)
        run_fit(lm, TEXTS, max_steps=2)
    assert {row[-1] for row in learnt} == {end}
    assert any(message.startswith(f"warm start: targets end on id {end}") for message in caplog.messages)


def test_whichever_end_is_drawn_ends_a_completion() -> None:
    lm = with_several_ends(22, [1, 2, 22])
    engine = LocalEngine.create(Policy(lm, special_tokens(lm, None)), number_tokenizer(), PromptConfig(), seed=0)
    settings = EvalGenerationConfig(max_new_tokens=6, top_k=1)
    rollout = engine.rollout(TEXTS[:5], settings, stream="evaluation", step=0)
    assert rollout.terminated.all()
    assert rollout.completion_ids[:, 2].tolist() == [22] * 5


def test_a_story_ends_on_the_token_that_the_model_was_trained_with(test_data: Path) -> None:
    """Of `[1, 2]` it knows `<s>` alone; its tokenizer names `</s>`, which it was never trained with."""
    folder = test_data / "stories260K-hf"
    lm, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    lm.generation_config.eos_token_id = [2, 1]
    stories = json.loads((test_data / "tinystories-text" / "tinystories_1000.json").read_text())
    targets = tokenizer([story.strip() for story in stories[:40]], add_special_tokens=False)["input_ids"]
    rows = [{"prompt": [1], "target": [*target, 2]} for target in targets if len(target) < 400][:8]
    assert len(rows) == 8
    assert _likeliest_end(Policy(lm, special_tokens(lm, tokenizer)), tokenizer, rows, 4) == 1


def test_a_target_that_brings_its_end_gets_no_second_one() -> None:
    tokens = special_tokens(tiny_lm("gpt2", vocab_size=24), None)
    rows = _rows([[3], [3]], [[4, 5], [4, 5, 1]], 10, tokens)
    assert [row["target"] for row in rows] == [[4, 5, 1], [4, 5, 1]]


@pytest.mark.parametrize("family", slow_but(["gpt2", "t5-untied"], ["gpt2"]))
def test_the_loss_on_held_out_rows_is_that_of_hugging_face(family: str) -> None:
    """Before and after, over all tokens of all rows, whatever the batches; the losses of training go on beside it."""
    tokenizer = number_tokenizer()
    lm = tiny_lm(family, vocab_size=len(tokenizer))
    held_out = [Sample("a", "1", ("2 3 4",)), Sample("b", "2 7", ("5",)), Sample("c", "3", ("4 5",))]
    prompts = tokenizer([s.prompt for s in [*TEXTS, *held_out]], add_special_tokens=False)["input_ids"]

    def of_hugging_face() -> float:
        total, count = 0.0, 0
        for sample, prompt in zip(held_out, prompts[len(TEXTS) :], strict=True):
            target = [*tokenizer(sample.references[0], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
            if family in ENCODER_DECODER:
                loss = lm(input_ids=torch.tensor([prompt]), labels=torch.tensor([target])).loss
            else:
                labels = [-100] * len(prompt) + target
                loss = lm(input_ids=torch.tensor([prompt + target]), labels=torch.tensor([labels])).loss
            total, count = total + loss.item() * len(target), count + len(target)
        return total / count

    told: list[tuple[int, int, float]] = []
    before = of_hugging_face()
    log = fit(
        lm,
        tokenizer,
        TEXTS,
        SupervisedConfig(max_steps=7, batch_size=2, learning_rate=1e-2, gradient_accumulation_steps=2),
        prompt_ids=prompts[: len(TEXTS)],
        seed=0,
        progress=lambda *step: told.append(step),
        held_out=(held_out, prompts[len(TEXTS) :]),
    )
    assert log[0] == {"step": 0, "held_out_loss": pytest.approx(before, abs=1e-5)}
    assert log[-1] == {"step": 7, "held_out_loss": pytest.approx(of_hugging_face(), abs=1e-5)}
    assert [line["step"] for line in log[1:-1]] == [step for step, _, _ in told] == list(range(1, 8))
    assert [line["loss"] for line in log[1:-1]] == pytest.approx([loss for _, _, loss in told], abs=1e-5)


def test_a_run_shows_its_warm_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"supervised": {"max_steps": 3, "batch_size": 8}, "algorithm": None, "tracking": {"progress": True}}
    result = run(small_recipe(tmp_path, **settings))
    lines = [json.loads(line) for line in (result.folder / "supervised.jsonl").read_text().splitlines()]
    kept = json.loads((result.folder / "result.json").read_text())["warm_start"]["held_out_loss"]
    assert kept == [lines[0]["held_out_loss"], lines[-1]["held_out_loss"]]
    told = capsys.readouterr().err
    assert f"warm start 3/3  loss {lines[-2]['loss']:.3f}\n" in told
    assert re.search(rf"warm start: loss {kept[0]:.3f} \(.*\) → loss {kept[1]:.3f} \(.*\) on 8 validation rows", told)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"evaluation": {"split": "train"}}, "evaluation.split is train"),
        (
            {"data": {"validation": "bare.jsonl"}},
            "data: no row of the validation split has a 'completion' or a reference",
        ),
    ],
)
def test_a_warm_start_without_held_out_targets_says_so(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bare.jsonl").write_text('{"prompt": "1"}\n{"prompt": "2"}\n')
    settings |= {"supervised": {"max_steps": 1, "batch_size": 8}, "algorithm": None, "tracking": {"progress": True}}
    result = run(small_recipe(tmp_path, **settings))
    assert f"warm start: not measured on held-out rows: {why}" in " ".join(capsys.readouterr().err.split())
    assert json.loads((result.folder / "result.json").read_text())["warm_start"] == {"held_out_loss": []}
