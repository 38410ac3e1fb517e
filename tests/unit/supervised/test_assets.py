from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from rl4lms.errors import ModelError
from rl4lms.supervised.assets import build, build_lm, word_tokenizer
from rl4lms.tasks import build as build_task
from rl4lms.types import ModelSpec

SHAPE = {"hidden_size": 32, "layers": 1, "heads": 2, "max_positions": 16}
WORDS = [f"w{number}" for number in range(200)]


def test_a_t5_may_have_its_own_embeddings():
    tokenizer = word_tokenizer(WORDS)
    small = build_lm(ModelSpec("base", "t5", SHAPE, "", ""), tokenizer)
    own = ModelSpec("base", "t5", {**SHAPE, "t5_embeddings": 1}, "", "")
    large = build_lm(own, tokenizer)
    assert small.get_input_embeddings().weight.std() < 0.1
    assert 0.9 < large.get_input_embeddings().weight.std() < 1.1
    assert large.get_output_embeddings().weight is large.get_input_embeddings().weight
    with pytest.raises(ValueError, match="t5_embeddings is for a T5"):
        build_lm(dataclasses.replace(own, architecture="gpt2"), tokenizer)


def test_a_classifier_that_learned_nothing_is_refused(cache_dir):
    spec = build_task("imdb", edition="mini").classifiers["sentiment"]
    short = dataclasses.replace(spec, steps=2, data_options={**spec.data_options, "count": 400})
    before = set(cache_dir.iterdir())
    with pytest.raises(ModelError, match=r"asset sentiment: after its training it is right about \d\d% of the texts"):
        build(short)
    assert set(cache_dir.iterdir()) == before


# One more processor, as far as one can be another: the plainest instructions, and a sum in two halves.
OTHER = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
TRAIN = """
import contextlib, dataclasses, hashlib, sys
import torch
from rl4lms.supervised import assets
from rl4lms.tasks import build

what, threads, portable = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "portable"
torch.set_num_threads(threads)
assets._check_learned = lambda *given: None  # in so few steps it has not
if not portable:
    assets.portable, assets.portable_weights = contextlib.nullcontext, lambda model: None
task = build("imdb", edition="mini")
spec = {**task.models, **task.classifiers}[what]
data = {**spec.data_options, "count": 1600}
folder = assets.build(dataclasses.replace(spec, steps=25, data_options=data))
print(hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())
"""


@pytest.mark.timeout(900)  # four trainings
@pytest.mark.parametrize(
    "what", ["sentiment", *(pytest.param(name, marks=pytest.mark.slow) for name in ("base_t5", "judge"))]
)
def test_assets_are_the_same_on_processors_that_round_otherwise(what, tmp_path):
    def trained(kind: str, threads: int, other: Mapping[str, str]) -> str:
        place = {"RL4LMS_CACHE": str(tmp_path / f"{kind}-{threads}"), "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", TRAIN, what, str(threads), kind]
        done = subprocess.run(command, env={**os.environ, **place, **other}, capture_output=True, text=True, check=True)
        return done.stdout.split()[-1]

    assert trained("float32", 1, {}) != trained("float32", 2, OTHER)  # else there is nothing to be seen here
    assert trained("portable", 1, {}) == trained("portable", 2, OTHER)
