"""Models of others: weights come from safetensors, and nothing that lies beside them is run."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from rl4lms.config import recipe_from_dict
from rl4lms.config.model import ModelConfig
from rl4lms.errors import ConfigError, ModelError
from rl4lms.metrics import build as build_metric
from rl4lms.models.loading import load_lm, load_tokenizer
from rl4lms.models.text_nll import load_text_nll
from rl4lms.rewards import build as build_reward
from rl4lms.supervised.reward_model import train_reward_model
from tests.runs import save_tiny, small_recipe
from tests.tiny import word_tokenizer

CPU = torch.device("cpu")
REFUSED = (
    "its weights are only there as a pickle (pytorch_model.bin), which can run code when it is read. "
    "Save it once with `save_pretrained`, which writes safetensors, or set allow_pickle: true beside its path if you "
    "trust its source"
)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def as_pickle(folder: Path) -> Path:
    """The model folder with `pytorch_model.bin` instead of safetensors."""
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def classifier(folder: Path) -> Path:
    tokenizer = word_tokenizer()
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_pickled_language_model_is_refused_unless_asked_for(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "lm", "gpt2")
    expected = load_lm(ModelConfig(path=str(folder)), CPU).state_dict()
    as_pickle(folder)
    with pytest.raises(ModelError) as caught:
        load_lm(ModelConfig(path=str(folder)), CPU)
    assert str(caught.value) == f"model.path: cannot load {str(folder)!r} as a language model: {REFUSED}"
    found = load_lm(ModelConfig(path=str(folder), allow_pickle=True), CPU).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("allow", [False, True])
def test_a_pickle_that_is_no_bare_tensors_is_never_run(tmp_path: Path, allow: bool) -> None:
    folder = as_pickle(save_tiny(tmp_path / "lm", "gpt2"))
    trap = tmp_path / "sprung"
    torch.save({"transformer.wte.weight": Trap(trap)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"^model\.path: cannot load .*lm' as a language model: "):
        load_lm(ModelConfig(path=str(folder), allow_pickle=allow), CPU)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Trap(trap)))  # it would have worked
    assert trap.exists()


def test_safetensors_go_first(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "lm", "gpt2")
    trap = tmp_path / "sprung"
    torch.save({"transformer.wte.weight": Trap(trap)}, folder / "pytorch_model.bin")
    for allow in (False, True):
        load_lm(ModelConfig(path=str(folder), allow_pickle=allow), CPU)
    assert not trap.exists()


def test_a_pickled_classifier_is_refused_as_reward_and_as_metric_unless_asked_for(tmp_path: Path) -> None:
    folder = as_pickle(classifier(tmp_path / "bert"))
    options = {"name": "classifier", "model": str(folder), "label": 1, "device": "cpu"}
    recipe = small_recipe(tmp_path, reward=options, evaluation={"metrics": [options]})
    for build, component in ((build_reward, recipe.reward), (build_metric, recipe.evaluation.metrics[0])):
        with pytest.raises(ModelError) as caught:
            build(component)  # type: ignore[operator]
        assert str(caught.value) == f"the classifier {str(folder)!r} cannot be loaded: {REFUSED}"
    asked = small_recipe(tmp_path, reward={**options, "allow_pickle": True}).reward
    assert asked is not None
    assert (
        len(
            build_reward(asked)(
                prompts=["w3"], completions=["w4"], completion_ids=[[4]], references=[()], texts=["w3 w4"]
            )
        )
        == 1
    )


def test_a_pickled_judge_is_refused_unless_asked_for(tmp_path: Path) -> None:
    folder = as_pickle(save_tiny(tmp_path / "lm", "gpt2"))
    with pytest.raises(ModelError, match=r"only there as a pickle \(pytorch_model\.bin\)"):
        load_text_nll(str(folder), device="cpu", batch_size=8, max_tokens=64, allow_pickle=False)
    metric = {"name": "perplexity", "model": str(folder), "device": "cpu", "allow_pickle": True}
    judge = build_metric(small_recipe(tmp_path, evaluation={"metrics": [metric]}).evaluation.metrics[0])
    assert judge(prompts=["1"], completions=["2 3"], references=[()])["perplexity"].value > 1


def test_a_pickled_base_of_a_reward_model_is_refused(tmp_path: Path) -> None:
    folder = as_pickle(classifier(tmp_path / "bert"))
    data = tmp_path / "data.csv"
    data.write_text("text,label\nw3,0\nw4,1\n")
    with pytest.raises(
        ModelError, match=r"^cannot load '.*bert' as a classifier: its weights are only there as a pickle"
    ):
        train_reward_model(base=str(folder), train=str(data), output=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_pickled_adapter_is_refused(tmp_path: Path) -> None:
    base, adapter = save_tiny(tmp_path / "lm", "gpt2"), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(base), "peft_type": "LORA"})
    )
    torch.save({"x": Trap(tmp_path / "sprung")}, adapter / "adapter_model.bin")
    with pytest.raises(
        ModelError,
        match=r"cannot load the adapter '.*adapter': its weights are only there as a pickle \(adapter_model\.bin\)",
    ):
        load_lm(ModelConfig(path=str(adapter)), CPU)


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "lm", "gpt2")
    trap = tmp_path / "sprung"
    (folder / "theirs.py").write_text(
        f"import os\nos.mkdir({str(trap)!r})\nclass Config: pass\nclass Model: pass\nclass Tokenizer: pass\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "theirs",
        "auto_map": {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"^model\.path: cannot load .*lm' as a language model: "):
        load_lm(ModelConfig(path=str(folder)), CPU)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Theirs", "auto_map": {"AutoTokenizer": ["theirs.Tokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=r"model\.tokenizer: "):
        load_tokenizer(ModelConfig(path=str(folder)))
    assert not trap.exists()


def test_remote_code_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"model\.trust_remote_code"):
        recipe_from_dict({"model": {"path": "gpt2", "trust_remote_code": True}, "data": "x.jsonl"})
