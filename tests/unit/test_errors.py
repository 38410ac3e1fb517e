from __future__ import annotations

import pickle

import pytest

from rl4lms import errors


@pytest.mark.parametrize(
    ("error", "standard", "text"),
    [
        (errors.ConfigError("a"), ValueError, "a"),
        (errors.DataError("a"), ValueError, "a"),
        (errors.ModelError("a"), ValueError, "a"),
        (errors.RewardError("a"), RuntimeError, "a"),
        (errors.CheckpointError("a"), RuntimeError, "a"),
        (errors.NonFiniteError("a"), ArithmeticError, "a"),
        (
            errors.MissingExtraError("peft", "peft"),
            ImportError,
            'peft is not installed; run: pip install "rl4lms[peft]"',
        ),
        (
            errors.BrokenPackageError("wandb", "ImportError: no x"),
            ImportError,
            "wandb is installed, but importing it fails: ImportError: no x; install what it needs, or install it again: "
            "pip install --force-reinstall wandb",
        ),
        (
            errors.UnknownNameError("reward", "clasifier", ["sum", "classifier"]),
            KeyError,
            "unknown reward 'clasifier'; did you mean 'classifier'?",
        ),
        (
            errors.UnknownNameError("reward", "q", ["sum", "classifier"]),
            KeyError,
            "unknown reward 'q'; known: classifier, sum",
        ),
        (
            errors.UnknownNameError("reward", "rogue", ["rouge", "rouge_l", *map(str, range(12))]),
            KeyError,
            "unknown reward 'rogue'; did you mean 'rouge' or 'rouge_l'? All names: rl4lms ls rewards, rl4lms ls metrics",
        ),
        (
            errors.UnknownNameError("metric", "shortness", ["rouge", *map(str, range(12))]),
            KeyError,
            "unknown metric 'shortness'; all names: rl4lms ls metrics; one of your own: path/to/file.py:function",
        ),
        (errors.UnknownNameError("reward", "q", []), KeyError, "unknown reward 'q'; there are none"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_errors_read_well_refine_the_standard_ones_and_survive_pickling(error, standard, text):
    assert isinstance(error, errors.Rl4lmsError)
    assert isinstance(error, standard)
    assert str(error) == text
    assert str(pickle.loads(pickle.dumps(error))) == text
