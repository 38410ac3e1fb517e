"""What is saved is what was trained: the guard after every save, adapters, and folders of adapters."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from rl4lms.config.model import LoraConfig, ModelConfig
from rl4lms.errors import ModelError
from rl4lms.metrics import build
from rl4lms.models.adapter_check import check_adapter
from rl4lms.models.build import build_models
from rl4lms.models.loading import load_lm, load_tokenizer, special_tokens
from rl4lms.models.policy import Policy
from rl4lms.models.saving import differing, read_adapter, save_adapter, save_classifier, save_lm, save_model
from rl4lms.plugins.component import Component
from rl4lms.runs.signals import StopSignals
from rl4lms.training.evaluate import evaluate
from rl4lms.training.loop import Loop
from rl4lms.training.result import save_result
from rl4lms.training.run import assemble
from tests.marks import slow_but
from tests.runs import run_steps, save_tiny, small_loop, small_recipe
from tests.tiny import number_tokenizer, tiny_lm

peft = pytest.importorskip("peft")
CPU = torch.device("cpu")


def policy_of(lm: Any) -> Policy:
    return Policy(lm, special_tokens(lm, None))


class TestGuard:
    @pytest.mark.parametrize("how", ["policy", "warm start"])
    def test_weights_that_saving_leaves_out_are_told(self, tmp_path: Path, how: str) -> None:
        lm, tokenizer = tiny_lm("marian", vocab_size=24), number_tokenizer()
        with torch.no_grad():
            lm.model.decoder.embed_positions.weight.add_(0.1)
        save = {
            "policy": lambda: save_model(policy_of(lm), tokenizer, tmp_path, "# card"),
            "warm start": lambda: save_lm(lm, tokenizer, tmp_path),
        }
        message = r"log-probs differ by .* nats; tensors that differ: model\.decoder\.embed"
        with pytest.raises(ModelError, match=message):
            save[how]()

    def test_a_difference_outside_the_weights_is_told(self, tmp_path: Path) -> None:
        lm, tokenizer = tiny_lm("gpt2", vocab_size=24), number_tokenizer()
        lm.transformer.ln_f.register_forward_hook(lambda module, given, out: out * 1.01)
        with pytest.raises(ModelError, match=r"not the one that was trained: its log-probs differ by [\d.]+ nats\. "):
            save_lm(lm, tokenizer, tmp_path)

    def test_other_special_tokens_are_told(self, tmp_path: Path) -> None:
        lm, tokenizer = tiny_lm("gpt2", vocab_size=24), number_tokenizer()
        policy = policy_of(lm)
        lm.generation_config.eos_token_id = [1, 5]
        with pytest.raises(ModelError, match=r"its special tokens are .*eos=\(1, 5\).*, for .*eos=\(1,\)"):
            save_model(policy, tokenizer, tmp_path, "# card")

    def test_classifiers_are_guarded(self, tmp_path: Path) -> None:
        lm = LlamaForSequenceClassification(
            LlamaConfig(vocab_size=24, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
        )
        save_classifier(lm, number_tokenizer(), tmp_path)
        lm._keys_to_ignore_on_save = {"score.weight"}
        with pytest.raises(ModelError, match=r"tensors that differ: score\.weight"):
            save_classifier(lm, number_tokenizer(), tmp_path)

    def test_a_run_ends_with_the_error_and_without_a_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = small_recipe(tmp_path)
        loop = assemble(recipe, folder := Path(str(recipe.output_dir)))
        run_steps(loop, 1)
        monkeypatch.setattr(loop.models.policy.lm, "_keys_to_ignore_on_save", {"transformer.wpe.weight"})
        with pytest.raises(ModelError, match=r"transformer\.wpe\.weight"):
            save_result(recipe, loop, 1, StopSignals())
        assert not list(folder.glob("*model*"))


@pytest.mark.parametrize("family", ["marian", "pegasus"])
def test_what_a_family_computes_is_never_trained(tmp_path: Path, family: str) -> None:
    """Newer transformers hand over the sinusoidal positions of Marian as trainable."""
    if family == "marian":
        lm = tiny_lm("marian", vocab_size=24)
    else:
        from transformers import PegasusConfig, PegasusForConditionalGeneration

        lm = PegasusForConditionalGeneration(
            PegasusConfig(
                vocab_size=24, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
                decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=60,
                pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
            )
        )  # fmt: skip
    lm.save_pretrained(tmp_path / f"lm-{family}")
    number_tokenizer().save_pretrained(tmp_path / f"lm-{family}")
    lm = load_lm(ModelConfig(path=str(tmp_path / f"lm-{family}")), CPU).requires_grad_(True)
    positions = lm.model.encoder.embed_positions.weight
    before = positions.clone()
    models = build_models(ModelConfig(path=str(tmp_path / f"lm-{family}")), CPU, lm=lm)
    assert not positions.requires_grad
    assert all(p.requires_grad for n, p in models.policy.lm.named_parameters() if "embed_positions" not in n)
    loop = small_loop(tmp_path, family, model={"value": "separate"})
    run_steps(loop, 2)
    assert torch.equal(before, loop.models.policy.lm.model.encoder.embed_positions.weight)
    save_model(loop.models.policy, loop.models.tokenizer, tmp_path / "saved", "# card")


class TestAdapterAtTheStart:
    def test_a_module_that_no_pass_calls_is_refused(self, tmp_path: Path) -> None:
        path = str(save_tiny(tmp_path, "bert2bert"))
        with pytest.raises(ModelError, match=r"target_modules: pooler\.dense takes no part in the log-probs"):
            build_models(ModelConfig(path=path, lora=LoraConfig(target_modules=["query", "pooler.dense"])), CPU)
        build_models(ModelConfig(path=path, lora=LoraConfig(target_modules=["dense"])), CPU)

    def test_a_weight_that_is_used_in_a_second_place_is_refused(self, tmp_path: Path) -> None:
        lm = load_lm(ModelConfig(path=str(save_tiny(tmp_path, "gpt2"))), CPU)
        with torch.no_grad():
            lm.transformer.ln_f.weight.normal_()

        def also(module: Any, given: Any, out: Any) -> Any:
            out.last_hidden_state = out.last_hidden_state @ module.h[0].attn.c_proj.weight
            return out

        lm.transformer.register_forward_hook(also)
        config = ModelConfig(path=str(tmp_path), lora=LoraConfig(target_modules=["c_proj"]))
        with pytest.raises(ModelError, match=r"adapters merged into its weights differ by .* nats"):
            build_models(config, CPU, lm=lm)

    @pytest.mark.parametrize("family", ["gpt2", "t5", "bart"])
    def test_trying_it_leaves_no_trace(self, tmp_path: Path, family: str) -> None:
        lora = LoraConfig(target_modules="all-linear")
        models = build_models(ModelConfig(path=str(save_tiny(tmp_path, family)), lora=lora), CPU)
        before = {name: t.clone() for name, t in models.policy.lm.state_dict().items()}
        state = torch.get_rng_state()
        check_adapter(models.policy, lora.target_modules)
        assert torch.equal(state, torch.get_rng_state())
        assert all(torch.equal(t, before[name]) for name, t in models.policy.lm.state_dict().items())
        assert all(p.grad is None for p in models.policy.parameters())


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_adapters_of_a_low_precision_base_are_merged_without_loss(tmp_path: Path, family: str) -> None:
    config = ModelConfig(path=str(save_tiny(tmp_path / "lm", family)), lora=LoraConfig(), dtype="bfloat16")
    models = build_models(config, CPU, value=False)
    policy = models.policy
    base = {name.replace(".base_layer", ""): t.float() for name, t in policy.lm.state_dict().items()}
    with torch.no_grad():
        for name, parameter in policy.lm.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=1e-3)  # far below the spacing of bfloat16
    save_model(policy, models.tokenizer, tmp_path / "saved", "# card")
    saved = load_lm(ModelConfig(path=str(tmp_path / "saved")), CPU).state_dict()
    compared = 0
    for name, module in policy.lm.named_modules():
        if hasattr(module, "get_delta_weight"):
            update = module.get_delta_weight("policy")
            error = (saved[f"{name}.weight"] - base[f"{name}.weight"] - update).norm() / update.norm()
            assert error < 1e-3, name
            compared += 1
    assert compared
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == "float32"


def finished(tmp_path: Path, family: str, **model: Any) -> Loop:
    """A run of two iterations, evaluated at its end and saved."""
    path = model.pop("path", None)
    model |= {"path": path} if path else {}
    recipe = small_recipe(
        tmp_path, family, model=model, training={"iterations": 2}, evaluation={"prompts": 16}, optimizer={"learning_rate": 1e-2}
    )  # fmt: skip
    folder = Path(str(recipe.output_dir))
    folder.mkdir()
    loop = assemble(recipe, folder)
    loop.run()
    save_result(recipe, loop, 1, StopSignals())
    return loop


CASES = {
    "full": {},
    "lora": {"lora": {"r": 4}},
    "lora bfloat16": {"lora": {"r": 4}, "dtype": "bfloat16"},
    "lora with embeddings": {"lora": {"r": 4, "target_modules": ["EMBEDDINGS"]}},
    "extended vocabulary": {"path": "EXTENDED"},
    "lora on extended vocabulary": {"path": "EXTENDED", "lora": {"r": 4}},
}


QUICK = [("lora bfloat16", "llama"), ("lora", "t5-untied")]


@pytest.mark.parametrize(("case", "family"), slow_but(itertools.product(CASES, ("llama", "t5-untied")), QUICK))
def test_the_saved_model_says_what_the_run_said(tmp_path: Path, case: str, family: str) -> None:
    model = json.loads(
        json.dumps(CASES[case]).replace("EMBEDDINGS", "embed_tokens").replace("EXTENDED", str(tmp_path / "adapter"))
    )
    if family == "t5-untied" and case == "lora with embeddings":
        pytest.skip("T5's embeddings are tied between encoder and decoder, which is refused")
    if "extended" in case:
        extended_adapter(tmp_path, family)
    loop = finished(tmp_path, family, **model)
    texts = [s["text"] for s in loop.evaluate.results["eval/"].samples]
    assert len({s["completion"] for s in loop.evaluate.results["eval/"].samples}) > 3
    folder = loop.log.folder
    again = evaluate(loop.recipe, run_folder=folder, split="validation")
    assert [s["text"] for s in again.samples] == texts
    assert again.results["kl_per_token"].mean == pytest.approx(
        loop.evaluate.results["eval/"].results["kl_per_token"].mean, abs=1e-5
    )
    assert again.results["kl_per_token"].mean > 1e-3
    if "bfloat16" in case:  # whose passes, and whose base, are rounded otherwise than merged weights
        return
    plain = ModelConfig(path=str(folder / "model"), value=loop.recipe.model.value)
    alone = loop.recipe.model_copy(update={"model": plain})
    assert [s["text"] for s in evaluate(alone, split="validation").samples] == texts
    if loop.recipe.model.lora is not None:
        merged, given = load_lm(ModelConfig(path=str(folder / "adapter")), CPU), torch.tensor([[3, 4, 5]])
        more = {"decoder_input_ids": given} if merged.config.is_encoder_decoder else {}
        theirs = load_lm(plain, CPU)(given, **more).logits
        assert torch.allclose(merged(given, **more).logits, theirs, atol=1e-4)


def extended_adapter(tmp_path: Path, family: str, how: str = "save_embedding_layers") -> Path:
    """An adapter that was trained with five more tokens than its base has."""
    base = save_tiny(tmp_path / f"base-{family}", family)
    auto = AutoModelForSeq2SeqLM if "t5" in family else AutoModelForCausalLM
    lm, words = auto.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    words.add_tokens([f"new{i}" for i in range(5)])
    lm.resize_token_embeddings(len(words), mean_resizing=False)
    with torch.no_grad():
        for weight in (lm.get_input_embeddings().weight, lm.lm_head.weight):
            weight[-5:].normal_(std=0.1)  # not so large that one token has all of the probability
    targets = {"llama": ["q_proj", "v_proj"], "t5-untied": ["q", "v"]}[family]
    whole = {"modules_to_save": ["embed_tokens", "lm_head"]} if how == "modules_to_save" else {}
    tuned = peft.get_peft_model(lm, peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False, **whole))
    tuned.save_pretrained(tmp_path / "adapter", save_embedding_layers=not whole)
    words.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def plain_adapter(tmp_path: Path, family: str = "llama", **options: Any) -> Path:
    """An adapter beside its base, without a tokenizer."""
    base = save_tiny(tmp_path / "base", family)
    config = peft.LoraConfig(**{"r": 2, "target_modules": ["q_proj"], "init_lora_weights": False} | options)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def edited(adapter: Path, **changes: Any) -> Path:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return adapter


class TestAdapterFolders:
    def test_the_tokenizer_may_be_that_of_the_base(self, tmp_path: Path) -> None:
        config = ModelConfig(path=str(plain_adapter(tmp_path)))
        assert load_tokenizer(config).get_vocab() == number_tokenizer().get_vocab()
        build_models(config, CPU)

    @pytest.mark.parametrize("how", ["save_embedding_layers", "modules_to_save"])
    def test_more_tokens_than_the_base_has(self, tmp_path: Path, how: str) -> None:
        path = extended_adapter(tmp_path, "llama", how)
        lm = load_lm(ModelConfig(path=str(path)), CPU)
        assert lm.config.vocab_size == lm.lm_head.weight.shape[0] == 29
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "base-llama")
        base.resize_token_embeddings(29)
        ids = torch.tensor([[3, 25, 28]])
        expected = peft.PeftModel.from_pretrained(base, path).eval()(ids).logits
        assert torch.allclose(lm(ids).logits, expected, atol=1e-5)

    def test_low_precision_is_merged_in_float32(self, tmp_path: Path) -> None:
        path = plain_adapter(tmp_path)
        full = load_lm(ModelConfig(path=str(path)), CPU).state_dict()
        low = load_lm(ModelConfig(path=str(path), dtype="bfloat16"), CPU).state_dict()
        assert all(torch.equal(low[name], tensor.bfloat16()) for name, tensor in full.items())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"base_model_name_or_path": None}, r"adapter_config\.json names no base model; write"),
            ({"base_model_name_or_path": "/no/such/model"}, r"'/no/such/model', the base of the adapter '.*adapter',"),
            ({"base_model_name_or_path": "BART"}, r"does not fit its base '.*bart' \(Bart.*\)"),
            ({"base_model_name_or_path": "SMALLER"}, r"does not fit its base '.*smaller' \(LlamaForCausalLM\): .*size"),
            ({"base_model_name_or_path": "FEWER"}, r"does not fit its base '.*fewer' .* has no place for"),
            ({"base_model_name_or_path": "ITSELF"}, r"following its bases leads to '.*adapter' again"),
            ({"target_modules": ["q_proj", "v_proj"]}, r"it lacks model\.layers\.0\.self_attn\.v_proj\.lora_A\.weight"),
            ({"task_type": "SEQ_CLS"}, r"is the adapter of a classifier"),
        ],
    )
    def test_what_does_not_fit_is_one_clear_error(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        path = plain_adapter(tmp_path)
        others = {
            "BART": lambda: save_tiny(tmp_path / "bart", "bart"),
            "SMALLER": lambda: save_tiny(tmp_path / "smaller", "llama", width=16),
            "FEWER": lambda: save_tiny(tmp_path / "fewer", "llama", layers=1),
            "ITSELF": lambda: path,
        }
        base = changes.get("base_model_name_or_path")
        edited(path, **(changes | ({"base_model_name_or_path": str(others[base]())} if base in others else {})))
        with pytest.raises(ModelError, match=message):
            load_lm(ModelConfig(path=str(path)), CPU)

    def test_broken_json(self, tmp_path: Path) -> None:
        path = plain_adapter(tmp_path)
        (path / "adapter_config.json").write_text("{")
        with pytest.raises(ModelError, match=r"adapter_config\.json cannot be read"):
            load_lm(ModelConfig(path=str(path)), CPU)

    def test_an_adapter_in_one_of_two_tied_places_is_refused(self, tmp_path: Path) -> None:
        path = plain_adapter(tmp_path, "gpt2", target_modules=["lm_head"])
        with pytest.raises(ModelError, match="gives another model once it is merged"):
            load_lm(ModelConfig(path=str(path)), CPU)

    def test_embeddings_that_came_for_one_of_two_tied_places_are_refused(self, tmp_path: Path) -> None:
        """T5 looks tokens up in the embeddings of its stacks, so `shared` alone has no effect until it is tied again."""
        lm = AutoModelForSeq2SeqLM.from_pretrained(save_tiny(tmp_path / "base", "t5"))
        config = peft.LoraConfig(r=2, target_modules=["q"], modules_to_save=["shared"])
        tuned = peft.get_peft_model(lm, config)
        with torch.no_grad():
            tuned.base_model.model.shared.modules_to_save["default"].weight.normal_()
        tuned.save_pretrained(tmp_path / "adapter")
        with pytest.raises(ModelError, match="gives another model once it is merged"):
            load_lm(ModelConfig(path=str(tmp_path / "adapter")), CPU)

    def test_prompts_that_were_learnt_cannot_be_merged(self, tmp_path: Path) -> None:
        base = save_tiny(tmp_path / "base", "llama")
        config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
        peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "adapter")
        with pytest.raises(ModelError, match="PROMPT_TUNING, which cannot be merged"):
            load_lm(ModelConfig(path=str(tmp_path / "adapter")), CPU)

    @pytest.mark.parametrize("labels", [1, 3])
    def test_reward_models_may_be_adapters(self, tmp_path: Path, labels: int) -> None:
        base = save_tiny(tmp_path / "base", "llama")
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels, pad_token_id=0)
        tuned = peft.get_peft_model(
            model, peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj"], init_lora_weights=False)
        )
        tuned.save_pretrained(tmp_path / "adapter")
        options = {"model": str(tmp_path / "adapter"), "output": "logit", "include_prompt": False}
        metric = build(Component(name="classifier", **options, **({} if labels == 1 else {"label": 2})))
        found = metric(prompts=[""], completions=["3 4 5"])["classifier"][0]
        ids = number_tokenizer()("3 4 5", return_tensors="pt")["input_ids"]
        assert found == pytest.approx(float(tuned.eval()(ids).logits[0, 0 if labels == 1 else 2]), abs=1e-5)

    def test_what_was_saved_is_read_and_nothing_else(self, tmp_path: Path) -> None:
        config = ModelConfig(path=str(save_tiny(tmp_path / "lm", "gpt2")), lora=LoraConfig(r=2))
        models = build_models(config, CPU, value=False)
        with torch.no_grad():
            for name, p in models.policy.lm.named_parameters():
                if ".lora_" in name:
                    p.normal_()
        (tmp_path / "adapter").mkdir()
        save_adapter(models.policy, models.tokenizer, tmp_path / "adapter", config.path)
        again = build_models(config, CPU, value=False).policy
        read_adapter(again, tmp_path / "adapter")
        assert differing(models.policy.lm, again.lm) == []
        other = config.model_copy(update={"lora": LoraConfig(r=2, target_modules=["c_fc"])})
        with pytest.raises(ModelError, match="the adapter does not fit the model"):
            read_adapter(build_models(other, CPU, value=False).policy, tmp_path / "adapter")

    @pytest.mark.parametrize("content", [None, b"", b"no safetensors at all"])
    def test_an_adapter_that_cannot_be_read_is_one_clear_error(self, tmp_path: Path, content: bytes | None) -> None:
        config = ModelConfig(path=str(save_tiny(tmp_path / "lm", "gpt2")), lora=LoraConfig(r=2))
        policy = build_models(config, CPU, value=False).policy
        (tmp_path / "adapter").mkdir()
        if content is not None:
            (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(content)
        with pytest.raises(ModelError, match="the adapter cannot be read: "):
            read_adapter(policy, tmp_path / "adapter")
        (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": config.path}))
        with pytest.raises(ModelError, match="adapter"):
            load_lm(ModelConfig(path=str(tmp_path / "adapter")), CPU)
