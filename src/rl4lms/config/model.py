"""Which language model is trained, and how its value function, precision and adapters are set up."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rl4lms.plugins.component import Block


class LoraConfig(Block):
    """Low-rank adapters (`peft`). The base weights are frozen and serve as the reference."""

    r: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    target_modules: list[str] | Literal["all-linear"] = "all-linear"


class ModelConfig(Block):
    """The policy.

    `value`: `separate` copies the whole LM for the value function, as in the paper; `shared` puts a value head on the
    policy's trunk.
    """

    path: str = Field(min_length=1, description="Hub id, local folder, or asset:<name> of the task")
    tokenizer: str | None = Field(None, description="Hub id or folder, if not that of the model")
    architecture: Literal["auto", "causal", "encoder-decoder"] = "auto"
    value: Literal["separate", "shared"] = "separate"
    lora: LoraConfig | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="weights; small updates need float32, see `autocast`"
    )
    autocast: Literal["bfloat16", "float16"] | None = Field(
        None, description="torch.autocast for passes; weights keep `dtype`"
    )
    gradient_checkpointing: bool = False
    allow_pickle: bool = Field(
        False,
        description="read pytorch_model.bin where there are no safetensors; only from sources you trust, since "
        "pickles can run code",
    )
    trust_remote_code: Literal[False] = Field(False, description="code that comes with a model is never run")
    revision: str | None = None
