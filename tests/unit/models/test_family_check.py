"""How a model is run is found by comparing it with itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedModel,
    YoutuConfig,
    YoutuForCausalLM,
)

from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.core.padding import pad
from rl4lms.errors import ModelError
from rl4lms.models import families, family_check
from rl4lms.models.families import CausalFamily, EncoderDecoderFamily
from rl4lms.models.family_check import family_of
from rl4lms.models.groups import Grouped, GroupedState, groups_of
from rl4lms.models.loading import special_tokens
from rl4lms.models.policy import Policy
from tests.tiny import BOS, EOS, PAD, tiny_lm

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
PROMPTS = [[5, 6, 7, 8], [9], [10, 11], [12]]


def bart_decoder() -> PreTrainedModel:
    """A model that counts positions by the columns of its cache."""
    torch.manual_seed(0)
    sizes = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64, "vocab_size": 40}
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": BOS}
    lm = BartForCausalLM(BartConfig(max_position_embeddings=80, init_std=0.3, **sizes, **ids))
    return lm.eval()


class TestWhatIsFound:
    @pytest.mark.parametrize("family", ["gpt2", "bert", "t5", "bart"])
    def test_the_usual_ones_are_padded(self, family: str) -> None:
        lm = tiny_lm(family)
        assert isinstance(family_of(lm, special_tokens(lm, None).decoder_prefix), CausalFamily | EncoderDecoderFamily)

    def test_a_model_that_takes_no_positions_runs_in_groups(self) -> None:
        lm = bart_decoder()
        with pytest.raises(ModelError, match=r"cached decoding differ from the model's own forward by \d"):
            family_check.check_family(lm, CausalFamily(lm))
        assert isinstance(family_of(lm, ()), Grouped)

    def test_it_is_found_once_for_a_model_and_its_copies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lm = bart_decoder()
        family_of(lm, ())
        monkeypatch.setattr(family_check, "check_family", lambda *_: pytest.fail("checked again"))
        assert isinstance(family_of(copy.deepcopy(lm), ()), Grouped)

    @pytest.mark.parametrize("part", ["step", "select", "repeat", "hidden", "head"])
    def test_a_fault_in_any_part_is_found(self, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each fault is in the same place whether prompts are padded or not."""
        lm = tiny_lm("gpt2")

        def wrong(whose: type, name: str, change: Any) -> None:
            right = getattr(whose, name)
            monkeypatch.setattr(whose, name, lambda self, *inputs: change(right, self, *inputs))

        if part == "step":
            wrong(CausalFamily, "step", lambda right, self, state, ids: right(self, state, ids.flip(0)))
        elif part == "select":
            wrong(families.DecodeState, "select", lambda right, self, rows: right(self, rows.flip(0)))
        elif part == "repeat":
            wrong(
                families.DecodeState, "repeat", lambda right, self, n: right(self, n) or right(self, 1) or _roll(self)
            )
        elif part == "hidden":
            wrong(CausalFamily, "hidden", lambda right, self, *batch: right(self, *batch).flip(0))
        else:
            wrong(CausalFamily, "head", lambda right, self, hidden: 2 * right(self, hidden))
        with pytest.raises(ModelError, match=r"GPT2LMHeadModel is not supported: .* nats"):
            family_of(lm, ())

    def test_code_that_fails_is_one_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: Any) -> None:
            raise IndexError("out of range\nmore")

        monkeypatch.setattr(families.DecodeState, "select", fails)
        with pytest.raises(ModelError, match=r"sampling and scoring fail with IndexError: out of range$"):
            family_of(tiny_lm("gpt2"), ())

    def test_a_model_that_is_not_loaded_as_it_was_saved(self) -> None:
        """Youtu's class sets the padding's embedding to zero, which is its row of the output head."""
        sizes = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
        sizes |= SIZES | {"num_key_value_heads": 4, "intermediate_size": 64, "vocab_size": 40}
        with pytest.raises(ModelError, match=r"YoutuForCausalLM is not supported: .* the embedding of token 3"):
            family_of(YoutuForCausalLM(YoutuConfig(**sizes, pad_token_id=3)).eval(), ())
        assert family_of(YoutuForCausalLM(YoutuConfig(**sizes, pad_token_id=None)).eval(), ())

    def test_a_model_without_a_cache_is_refused(self) -> None:
        lm = OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=40, n_embd=32, n_layer=1, n_head=4, n_positions=40)).eval()
        with pytest.raises(ModelError, match="OpenAIGPTLMHeadModel is not supported: it has no cache"):
            family_of(lm, ())


@pytest.mark.parametrize(("window", "longest"), [(None, 20), (4, 20), (60, 62), (128, 130), (4096, 20)])
def test_prompts_are_longer_than_a_short_window(window: int | None, longest: int) -> None:
    config = MistralConfig(**SIZES, intermediate_size=64, vocab_size=40, sliding_window=window)
    lm = MistralForCausalLM(config).eval()
    prompts, completions = family_check._batch(lm, CausalFamily(lm))
    assert [len(prompt) for prompt in prompts] == [longest, 1, longest // 2, longest // 2]
    assert completions.shape == (8, 4)
    assert len(set(map(tuple, completions.tolist()))) == 8


def test_prompts_fit_into_the_positions() -> None:
    lm = tiny_lm("gpt2")
    lm.config.n_positions = 10
    assert len(family_check._batch(lm, CausalFamily(lm))[0][0]) == 6


def test_heads_that_read_more_than_hidden_states() -> None:
    """Mixtral's reads router logits; its masks are integers, as tokenizers give them."""
    config = MixtralConfig(**SIZES, intermediate_size=64, vocab_size=40, num_local_experts=4, output_router_logits=True)
    lm = MixtralForCausalLM(config).eval()
    family = family_of(lm, ())
    dtypes = set()
    lm.model.register_forward_pre_hook(
        lambda module, args, kwargs: dtypes.add(kwargs["attention_mask"].dtype), with_kwargs=True
    )
    ids, mask = pad(PROMPTS, PAD, "left")
    state, _ = family.prefill(ids, mask, 2)
    family.step(state, torch.tensor([5, 6, 7, 8]))
    assert dtypes == {torch.int64}


class TestGroups:
    def test_rows_of_one_length(self) -> None:
        _, mask = pad(PROMPTS, PAD, "left")
        assert [rows.tolist() for rows, _ in groups_of(mask)] == [[1, 3], [2], [0]]

    def test_rows_are_repeated_and_kept_in_the_order_of_the_batch(self) -> None:
        class Rows:
            """A state that knows which rows it has."""

            def __init__(self, names: list[str]) -> None:
                self.names = names

            def repeat(self, n: int) -> None:
                self.names = [name for name in self.names for _ in range(n)]

            def select(self, rows: torch.Tensor) -> None:
                self.names = [self.names[i] for i in rows]

        state: Any = GroupedState([(torch.tensor([1, 3]), Rows(["b", "d"])), (torch.tensor([0, 2]), Rows(["a", "c"]))])

        def batch() -> list[str]:
            placed = {int(i): name for rows, part in state.parts for i, name in zip(rows, part.names, strict=True)}
            return [placed[i] for i in range(len(placed))]

        state.repeat(2)
        assert batch() == list("aabbccdd")
        state.select(torch.tensor([0, 3, 6, 7]))
        assert batch() == list("abdd")
        state.select(torch.tensor([2]))
        assert batch() == ["d"]
        assert len(state.parts) == 1

    def test_beams_of_a_batch_are_those_of_each_prompt(self) -> None:
        lm = bart_decoder()
        policy = Policy(lm, special_tokens(lm, None))
        settings = EvalGenerationConfig(max_new_tokens=6, num_beams=3)
        together = policy.beam_search(*pad(PROMPTS, PAD, "left"), settings)
        for row, prompt in enumerate(PROMPTS):
            alone = policy.beam_search(*pad([prompt], PAD, "left"), settings)
            ours = together.completion_ids[row][together.completion_mask[row]]
            assert ours.tolist() == alone.completion_ids[0][alone.completion_mask[0]].tolist()
            assert together.terminated[row] == alone.terminated[0]


def _roll(state: Any) -> None:
    state.cache.reorder_cache(torch.arange(len(state.mask)).roll(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_no_excuse(dtype: torch.dtype) -> None:
    """Rounding in bfloat16 explains tenths of a nat, and would hide a wrong position."""
    lm = tiny_lm("gpt2").to(dtype)
    before = [p.data_ptr() for p in lm.parameters()]
    family_of(lm, ())
    assert [p.data_ptr() for p in lm.parameters()] == before
    wrong = tiny_lm("gpt2").to(dtype)
    wrong.transformer.wpe.register_forward_hook(
        lambda module, given, out: out * (1.05 if given[0].shape[1] == 1 else 1)
    )
    with pytest.raises(ModelError, match="log-probabilities of cached decoding differ"):
        family_of(wrong, ())
