"""Which language model is trained, and how its value function, precision and adapters are set up."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rl4lms.plugins.component import Block


class LoraConfig(Block):
    """Low-rank adapters (`peft`). The base weights are frozen and serve as the reference."""

    r: int = Field(8, ge=1, description="rank of the adapters")
    alpha: int = Field(16, ge=1, description="their scale is alpha / r")
    target_modules: list[str] | Literal["all-linear"] = Field(
        "all-linear", description="names of layers that get adapters, or all linear ones but the output layer"
    )


class ModelConfig(Block):
    """The policy.

    `value`: `separate` copies the whole LM for the value function, as in the paper; `shared` puts a value head on the
    policy's trunk.
    """

    path: str = Field(min_length=1, description="Hub id, local folder, or asset:<name> of the task")
    tokenizer: str | None = Field(None, description="Hub id or folder, if not that of the model")
    source_language: str | None = Field(
        None,
        description="of prompts, for translation models whose tokenizer knows languages: its code, such as eng_Latn",
    )
    target_language: str | None = Field(
        None, description="of completions, which begin with its code; saved with the model"
    )
    architecture: Literal["auto", "causal", "encoder-decoder"] = Field(
        "auto", description="how the model is loaded, where its configuration leaves it open"
    )
    value: Literal["separate", "shared"] = Field(
        "separate", description="the value function: a copy of the whole LM, or a head on the trunk of the policy"
    )
    lora: LoraConfig | None = Field(None, description="train adapters instead of all weights")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="weights; small updates need float32, see `autocast`"
    )
    autocast: Literal["bfloat16", "float16"] | None = Field(
        None, description="torch.autocast for passes; weights keep `dtype`"
    )
    attention: Literal["auto", "flex"] = Field(
        "auto",
        description="auto: what `transformers` takes; flex: on a GPU, flex attention for rows that hold a prompt and "
        "its completions, which pays where these are long",
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations again in the backward pass: less memory, more time"
    )
    allow_pickle: bool = Field(
        False,
        description="read pytorch_model.bin where there are no safetensors; only from sources you trust, since "
        "pickles can run code",
    )
    trust_remote_code: Literal[False] = Field(False, description="code that comes with a model is never run")
    revision: str | None = Field(None, description="branch, tag or commit of a Hub id")
