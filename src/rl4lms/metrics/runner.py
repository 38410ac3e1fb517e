"""Running texts through a pretrained model in batches: what metrics and rewards that use one share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rl4lms.data.conversations import Message, in_trl_form
from rl4lms.errors import DataError, ModelError
from rl4lms.plugins.options import Option

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

#: A text, or two texts that a model reads together.
Texts = str | tuple[str, str]


Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], Option("where the model runs; auto: a GPU where there is one")
]
BatchSize = Annotated[int, Option("rows per pass of the model", ge=1)]
Side = Annotated[Literal["left", "right"], Option("which end of a long text is cut off")]
AllowPickle = Annotated[
    bool,
    Option(
        "read pytorch_model.bin where there are no safetensors; only from sources you trust, since pickles can run code"
    ),
]


@dataclass(kw_only=True, eq=False)
class RunnerOptions:
    """Options of every component that runs a pretrained model: their base class, to which each adds its own."""

    batch_size: BatchSize = 64
    max_tokens: Annotated[int, Option("longer texts are cut; the model's own limit applies, too", ge=8)] = 512
    device: Device = "auto"
    allow_pickle: AllowPickle = False


class ModelRunner:
    """A pretrained model and its tokenizer, for inference.

    Rows of similar length share a pass, so that little of a batch is padding; what comes back is in the order that was
    given. A row's result does not depend on the other rows, but for rounding.

    Args:
        auto_class: such as `transformers.AutoModel`.
        model: Hub id or folder.
        what: names the model in messages, such as `classifier`.
        options: rows per pass (`batch_size`), where texts are cut, where to run, whether a pickle may be read.
        truncation_side: which end is cut.
        need: whether a tensor that the weights lack is an error, by its name; tensors that are not needed may be
            random.

    Attributes:
        name: of the model, as given.
        tokenizer, model, config: as loaded; the model is frozen and in evaluation mode.

    Raises:
        ModelError: the model or its tokenizer cannot be loaded, or weights are missing that are needed.
    """

    def __init__(
        self,
        auto_class: Any,
        model: str,
        what: str,
        options: RunnerOptions,
        *,
        truncation_side: Literal["left", "right"] = "right",
        need: Callable[[str], bool] = lambda name: True,
    ) -> None:
        from transformers import AutoTokenizer

        from rl4lms.models.frame import Frame
        from rl4lms.models.loading import load_pretrained, resolve_device, tokenizer_folder

        failure = f"the {what} {model!r} cannot be loaded"
        loaded: tuple[Any, list[str]] = load_pretrained(auto_class, model, failure, allow_pickle=options.allow_pickle)
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(
                tokenizer_folder(model, failure), truncation_side=truncation_side, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"{failure}: {error}") from error
        self.name, self.model = model, loaded[0]
        missing = [name for name in loaded[1] if need(name)]
        if missing:  # they would be random
            raise IncompleteModelError(model, what, missing)
        self.config: PretrainedConfig = self.model.config
        self._device = resolve_device(options.device)
        self.model.to(self._device).eval().requires_grad_(False)
        self._batch_size = options.batch_size
        self._max_tokens = min(options.max_tokens, self.tokenizer.model_max_length, positions(self.config))
        self._inputs = set(inspect.signature(self.model.forward).parameters)
        self.tokenizer.padding_side = "right"
        give_padding(self.model, self.tokenizer, failure)
        self._frame = Frame(self.tokenizer, f"texts for the {what} {model!r}")
        self._nothing = (
            self.tokenizer.pad_token_id if self.tokenizer.eos_token_id is None else self.tokenizer.eos_token_id
        )

    def run(
        self, texts: Sequence[Texts], read: Callable[[Any, dict[str, Tensor]], Sequence[Any]], **inputs: Any
    ) -> list[Any]:
        """Return one result per text.

        Args:
            texts: (B,) texts, or pairs that a model reads together (the first of a pair is cut where both are too
                long).
            read: called with the model's output for b rows and its padded inputs, (b, T) each; returns b results.
            inputs: further arguments of the model: tensors of one row, repeated for each.
        """
        import torch

        if not texts:
            return []
        encoded = self.encode(texts)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        order = sorted(range(len(texts)), key=lengths.__getitem__)
        results: list[Any] = [None] * len(texts)
        with torch.inference_mode():
            for start in range(0, len(order), self._batch_size):
                batch = order[start : start + self._batch_size]
                columns = {
                    name: [column[row] for row in batch] for name, column in encoded.items() if name in self._inputs
                }
                padded = dict(self.tokenizer.pad(columns, return_tensors="pt").to(self._device))
                repeated = {
                    name: value.to(self._device).expand(len(batch), *value.shape) for name, value in inputs.items()
                }
                for row, result in zip(batch, read(self.model(**padded, **repeated), padded), strict=True):
                    results[row] = result
        return results

    def encode(self, texts: Sequence[Texts]) -> dict[str, list[list[int]]]:
        """Return token ids of each text, special tokens included (once, where a text brings them), cut to what the
        model reads; EOS for a text without any, as models need one.
        """
        if texts and isinstance(texts[0], tuple):
            firsts, seconds = ([self._text(pair[side]) for pair in texts] for side in (0, 1))
            encoded = dict(self.tokenizer(firsts, seconds, truncation="longest_first", max_length=self._max_tokens))
        else:
            encoded = dict(
                self.tokenizer([self._text(text) for text in texts], truncation=True, max_length=self._max_tokens)
            )
            names = ("input_ids", *(name for name in encoded if name != "input_ids"))
            rows = [self._frame.once(*columns) for columns in zip(*(encoded[name] for name in names), strict=True)]
            encoded = {name: [row[i] for row in rows] for i, name in enumerate(names)}
        filler = {"input_ids": self._nothing, "attention_mask": 1}
        for row, ids in enumerate(encoded["input_ids"]):
            if not ids:
                for name, column in encoded.items():
                    column[row] = [filler.get(name, 0)]
        return encoded

    @property
    def reads_chats(self) -> bool:
        """Whether the model was trained on conversations: `rl4lms reward train` says so in its config."""
        return bool(getattr(self.config, "rl4lms_chat", False))

    def rendered(
        self, owner: str, completions: Sequence[str], conversations: Sequence[Sequence[Message]] | None
    ) -> list[str]:
        """Return conversations and their answers as the model's own chat template writes them.

        Args:
            owner: begins the message.
            completions: (B,) answers.
            conversations: (B,) messages of each prompt, none where a prompt is a text.

        Raises:
            DataError: there is no template, or a prompt is a text.
        """
        render = chat_renderer(self.tokenizer)
        if render is None or conversations is None or not all(conversations):
            raise DataError(
                f"{owner}: {self.name} was trained on conversations, and "
                + ("its tokenizer lost its chat template" if render is None else "a prompt here is a plain text")
                + "; give conversations, or a model that was trained on texts"
            )
        pairs = (in_trl_form(*row) for row in zip(conversations, completions, strict=True))
        return [render([*prompt, *answer]) for prompt, answer in pairs]

    @staticmethod
    def _text(text: Any) -> str:
        """Return the text as tokenizers take it: they cannot encode half of a surrogate pair."""
        return str(text).encode("utf-8", "replace").decode("utf-8")


class IncompleteModelError(ModelError):
    """A model whose weights are not all there.

    Args:
        model: Hub id or folder.
        what: it should be.
        missing: names of tensors.
    """

    def __init__(self, model: str, what: str, missing: list[str]) -> None:
        super().__init__(model, what, missing)
        self.model, self.what, self.missing = model, what, missing

    def __str__(self) -> str:
        return f"{self.model!r} is no whole {self.what}: its weights lack {', '.join(self.missing)}"


def chat_renderer(tokenizer: Any) -> Callable[[list[Any]], str] | None:
    """Return what writes a whole conversation by the tokenizer's chat template; None where it has none."""
    if tokenizer.chat_template is None:
        return None
    return lambda messages: str(tokenizer.apply_chat_template(messages, tokenize=False))


def give_padding(model: Any, tokenizer: Any, failure: str) -> None:
    """Let a model and its tokenizer have one pad token, the model's where it has one.

    Padding is masked, but decoders that classify take the last token that is no padding for the end of a text. So it
    must be the token that the model knows as padding, and one that no text ends on.

    Args:
        model: with `config`, which is changed.
        tokenizer: of the model, which is changed.
        failure: begins the message.

    Raises:
        ModelError: neither has a pad token, nor the tokenizer another one that would do.
    """
    known = min(len(tokenizer), model.get_input_embeddings().weight.shape[0])
    names = ("pad", "eos", "bos", "cls", "sep", "mask")
    candidates = (model.config.pad_token_id, *(getattr(tokenizer, f"{name}_token_id") for name in names))
    pad = next((i for i in candidates if isinstance(i, int) and 0 <= i < known), None)
    if pad is None:
        raise ModelError(
            f"{failure}: its tokenizer has no pad token that the model knows, nor an EOS, BOS, CLS, SEP or mask token "
            "to pad with; set `pad_token` in its tokenizer_config.json to a token that no text ends on"
        )
    if tokenizer.pad_token_id != pad:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    model.config.pad_token_id = pad


def positions(config: PretrainedConfig) -> int:
    """Return how many tokens the position embeddings allow."""
    number = getattr(config, "max_position_embeddings", None)
    if not isinstance(number, int) or number < 1:
        return 1 << 30
    if "roberta" in config.model_type:  # positions are counted from pad_token_id + 1
        return number - (config.pad_token_id or 0) - 1
    return number
