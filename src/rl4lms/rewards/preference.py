"""Learned rewards from human preferences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from rl4lms.data.conversations import Message
from rl4lms.data.texts import Join, whole_texts
from rl4lms.errors import ConfigError
from rl4lms.metrics.runner import ModelRunner, RunnerOptions, Side
from rl4lms.plugins.options import Option


@dataclass(kw_only=True, eq=False)
class PreferenceReward(RunnerOptions):
    """How good a model of human preferences finds a text.

    * `bradley_terry`: a sequence classifier with one output r; the reward is r, and σ(r₁ - r₂) the probability that the
      first of two texts is preferred (Bradley and Terry, 1952). `rl4lms reward train` makes one.
    * `good_bad`: a text-to-text model that answers with one of two words. The reward is the probability of the first
      one against the other, a softmax over the logits of their first tokens at the first step, in [0, 1]. The original
      library's CommonGen preference model has this form; it reads the completion alone (`include_prompt: false`).

    Raises:
        ModelError: the model cannot be loaded, or lacks weights.
        ConfigError: it has another form, or the two answers begin with the same token.
    """

    model: Annotated[str, Option("Hub id or local folder, for example from `rl4lms reward train`", min_length=1)]
    form: Annotated[
        Literal["bradley_terry", "good_bad"],
        Option("a head with one output; or a text-to-text model that answers good or bad"),
    ] = "bradley_terry"
    include_prompt: Annotated[bool, Option("score prompt and completion as one text")] = True
    join: Join = None
    truncation_side: Side = "left"
    good: Annotated[str, Option("the answer that counts, in the text-to-text form", min_length=1)] = "good"
    bad: Annotated[str, Option("the answer against it", min_length=1)] = "bad"

    def __post_init__(self) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

        model, good, bad = self.model, self.good, self.bad
        auto_class = AutoModelForSequenceClassification if self.form == "bradley_terry" else AutoModelForSeq2SeqLM
        self._runner = ModelRunner(auto_class, model, "preference model", self, truncation_side=self.truncation_side)
        if self.form == "bradley_terry":
            outputs = self._runner.config.num_labels
            if outputs != 1:
                raise ConfigError(
                    f"the preference model {model!r} has {outputs} outputs and not one; use the reward `classifier` "
                    f"with a `label`"
                )
            return
        self._answers = [self._first_token(word) for word in (good, bad)]
        if self._answers[0] == self._answers[1]:
            raise ConfigError(
                f"reward 'preference': {good!r} and {bad!r} begin with the same token for {model!r}, so their logits "
                f"are one"
            )

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        texts: Sequence[str] | None = None,
        conversations: Sequence[Sequence[Message]] | None = None,
        **columns: Any,
    ) -> list[float]:
        """Score each text. A model that was trained on conversations reads them as its own chat template writes them.

        Raises:
            DataError: see `whole_texts`; or the model was trained on conversations, and a prompt is none.
        """
        read_texts = list(completions)
        if self._runner.reads_chats and self.include_prompt:
            read_texts = self._runner.rendered("reward 'preference'", completions, conversations)
        elif self.include_prompt:
            read_texts = whole_texts("preference", prompts, completions, texts, self.join)
        if self.form == "bradley_terry":
            return self._runner.run(read_texts, lambda output, inputs: output.logits[:, 0].float().tolist())
        import torch

        start = torch.tensor([self._runner.config.decoder_start_token_id])
        read = lambda output, inputs: output.logits[:, 0, self._answers].float().softmax(-1)[:, 0].tolist()  # noqa: E731
        return self._runner.run(read_texts, read, decoder_input_ids=start)

    def _first_token(self, word: str) -> int:
        from rl4lms.models.targets import encode_targets

        (ids,) = encode_targets(self._runner.tokenizer, [word], two_texts=True)
        if not ids:
            raise ConfigError(f"reward 'preference': the tokenizer has no token for {word!r}")
        return int(ids[0])
