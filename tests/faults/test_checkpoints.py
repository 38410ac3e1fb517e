"""Checkpoints that are damaged, forged, or another run's."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import rl4lms
from rl4lms.errors import CheckpointError, ConfigError, NonFiniteError, StorageError
from rl4lms.runs import checkpoint
from rl4lms.runs.checkpoint import FORMAT, Checkpoints, verify
from rl4lms.runs.folder import how_to_go_on, last_good
from rl4lms.training.run import run
from tests.faults.sweep import outcome
from tests.runs import metric_lines, save_tiny, small_loop, small_recipe

FILES = ("policy.safetensors", "mask_policy.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
SETTINGS: dict[str, Any] = {
    "algorithm": {"name": "nlpo", "mask_top_p": 0.8, "mask_update_every": 1, "n_epochs": 1},
    "training": {"iterations": 4, "prompts_per_iteration": 8},
    "evaluation": {"every": 2, "prompts": 4},
    "checkpoint": {"every": 1, "keep_last": 2},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of four iterations, whose checkpoints 3 and 4 are kept."""
    folder = tmp_path_factory.mktemp("finished")
    run(small_recipe(folder, **SETTINGS))
    return folder


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of its run folder."""
    return Path(shutil.copytree(finished / "run", tmp_path / "run"))


def resume(finished: Path, folder: Path, **settings: Any) -> None:
    run(small_recipe(finished, output_dir=str(folder), **{**SETTINGS, **settings}), resume=True)


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was said on standard error, without the progress bars of transformers."""
    return [line for line in capsys.readouterr().err.splitlines() if line and "it/s" not in line]


def flipped(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "cut short": lambda data, rng: data[: rng.randrange(1, len(data))],
    "empty": lambda data, rng: b"",
    "missing": lambda data, rng: None,
    "one bit flipped": flipped,
    "zeroed": lambda data, rng: bytes(len(data)),
    "longer": lambda data, rng: data + b"\0",
    "the file of another checkpoint": lambda data, rng: b"{}" if data[:1] == b"{" else data[::-1],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_the_one_before_is_used_and_the_run_ends_the_same(
    finished: Path, run_folder: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    path = run_folder / "checkpoints" / "step-000004" / name
    data = DAMAGES[damage](path.read_bytes(), random.Random(name + damage))
    path.unlink() if data is None else path.write_bytes(data)
    step, (complaint,) = Checkpoints(run_folder / "checkpoints", 2, {}).latest()
    assert step == 3
    assert complaint.startswith("checkpoint step-000004 is not usable: ")
    if damage in ("one bit flipped", "missing"):  # the others take the same way from here on
        resume(finished, run_folder)
        assert told(capsys) == [complaint, "resuming after iteration 3"]
        assert outcome(run_folder) == outcome(finished / "run")


def test_every_byte_counts(run_folder: Path) -> None:
    """Files with one byte changed, at every place of the manifest and at a hundred random ones of the others, are never
    taken for whole.
    """
    folder, rng = run_folder / "checkpoints" / "step-000004", random.Random(0)
    for name in FILES:
        path = folder / name
        data = path.read_bytes()
        places = range(len(data)) if name == "manifest.json" else [rng.randrange(len(data)) for _ in range(100)]
        for place in places:
            path.write_bytes(data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :])
            assert verify(folder) is not None, (name, place)
        path.write_bytes(data)
    assert verify(folder) is None


def forge(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a manifest and makes its own checksum right again."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]
    change(manifest)
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "name", ["../step-000003/policy.safetensors", "/etc/passwd", "..", "", "a/b", "extra.json", "policy.safetensors/"]
)
def test_a_manifest_that_points_elsewhere_is_refused(run_folder: Path, name: str) -> None:
    folder = run_folder / "checkpoints" / "step-000004"
    forge(folder, lambda manifest: manifest["files"].update({name: manifest["files"]["policy.safetensors"]}))
    assert verify(folder) == f"its manifest lists {name!r}, which is no part of a checkpoint"


@pytest.mark.parametrize("name", ["policy.safetensors", "optimizer.safetensors", "state.json"])
def test_a_manifest_without_a_file_that_every_checkpoint_has_is_refused(run_folder: Path, name: str) -> None:
    folder = run_folder / "checkpoints" / "step-000004"
    forge(folder, lambda manifest: manifest["files"].pop(name))
    assert verify(folder) == f"its manifest does not list {name}"


@pytest.mark.parametrize("files", [None, [], "x", {"state.json": 3}])
def test_a_manifest_of_the_wrong_shape_is_refused(run_folder: Path, files: object) -> None:
    folder = run_folder / "checkpoints" / "step-000004"
    forge(folder, lambda manifest: manifest.update(files=files))
    assert verify(folder) == "its manifest does not say what its files are"


def test_a_manifest_that_is_no_mapping_is_refused(run_folder: Path) -> None:
    folder = run_folder / "checkpoints" / "step-000004"
    for text in ("[]", "3", "null", '"x"', "[" * 100_000):
        (folder / "manifest.json").write_text(text)
        assert verify(folder) in ("its manifest is not JSON", "its manifest does not match its own checksum")


def test_a_checkpoint_under_another_number_is_not_used(run_folder: Path) -> None:
    checkpoints = run_folder / "checkpoints"
    shutil.copytree(checkpoints / "step-000003", checkpoints / "step-000009")
    step, complaints = Checkpoints(checkpoints, 2, {}).latest()
    assert (step, complaints) == (
        4,
        ["checkpoint step-000009 is not usable: it holds iteration 3, so the folder was renamed"],
    )


# --- other runs, other versions


@pytest.mark.parametrize("other", [FORMAT + 1, FORMAT - 1, 0, None, "3"])
def test_another_format_is_refused_even_where_an_older_checkpoint_could_be_read(
    finished: Path, run_folder: Path, other: object
) -> None:
    """A newer version wrote it: going on from an older one would throw its work away."""
    folder = run_folder / "checkpoints" / "step-000004"
    forge(folder, lambda manifest: manifest.update(format=other))
    with pytest.raises(CheckpointError) as caught:
        resume(finished, run_folder)
    assert str(caught.value) == (
        f"{folder} has format {other}, and this version of rl4lms reads format 3; "
        "finish the run with the version that began it (its env.json names it), or start it anew in another output_dir"
    )
    assert folder.is_dir()


def test_the_first_format_is_refused_by_name(finished: Path, run_folder: Path) -> None:
    folder = run_folder / "checkpoints" / "step-000004"
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest["files"]))  # it listed the files and nothing else
    with pytest.raises(CheckpointError, match="step-000004 has format 1, and this version of rl4lms reads format 3"):
        resume(finished, run_folder)


def test_another_version_of_a_library_is_told_and_no_obstacle(
    finished: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = checkpoint.versions()
    monkeypatch.setattr(checkpoint, "versions", lambda: {**ours, "torch": "9.9", "rl4lms": "8.8"})
    resume(finished, run_folder)
    assert told(capsys) == [
        f"step-000004 was written by other versions, so the last digits may differ: rl4lms {rl4lms.__version__} then, "
        f"8.8 now; "
        f"torch {torch.__version__} then, 9.9 now",
        "there is nothing left to train after iteration 4 of 4: the model is evaluated and saved again; to train on, set "
        "training.iterations to more",
    ]


def test_another_model_at_the_same_path_is_refused(finished: Path, run_folder: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "numbers.jsonl", tmp_path)
    model = save_tiny(tmp_path / "lm-gpt2", "gpt2", seed=1)
    with pytest.raises(CheckpointError) as caught:
        run(small_recipe(tmp_path, output_dir=str(run_folder), **SETTINGS), resume=True)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{run_folder / 'checkpoints' / 'step-000004'} was written with other settings:"
    named = {line.split(":")[0].strip() for line in lines[1:]}
    assert "the starting model has changed" in named
    assert {"model.path", "data.train", "data.validation"} <= named
    assert f"the file {finished / 'numbers.jsonl'} is used no more" in named
    assert f"the file {tmp_path / 'numbers.jsonl'} is used now, and was not then" in named
    assert model.is_dir()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EIO, "check the disk"),
        (errno.EACCES, "change its permissions"),
        (errno.ESTALE, "mount the file system again"),
    ],
)
@pytest.mark.parametrize("at", ["scandir", "stat", "_sha256", "load_file"])
def test_a_checkpoint_that_cannot_be_read_is_not_damaged(
    finished: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str, at: str
) -> None:
    """It may be good, so nothing is removed and no older one takes its place."""
    newest = run_folder / "checkpoints" / "step-000004"
    path = newest.parent if at == "scandir" else newest / ("manifest.json" if at == "stat" else "policy.safetensors")
    owner: Any = {"scandir": os, "stat": Path}.get(at, checkpoint)
    original = getattr(owner, at)

    def refused(asked: Any, *args: Any, **kwargs: Any) -> Any:
        if Path(asked) == path:
            raise OSError(number, os.strerror(number), str(path))
        return original(asked, *args, **kwargs)

    before = {path: path.read_bytes() for path in newest.parent.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(owner, at, refused)
        with pytest.raises(StorageError) as caught:
            resume(finished, run_folder)
        if at != "load_file":  # the load alone fails
            assert last_good(run_folder) is None
            assert how_to_go_on(run_folder).startswith("continue as soon as its checkpoints can be read: rl4lms train")
    assert str(caught.value) == (
        f"{path}: cannot be read ({errno.errorcode[number]}: {os.strerror(number)}), which does not say that it is "
        f"damaged, so nothing was removed; {advice}, then continue with --resume (in Python: resume=True)"
    )
    assert {path: path.read_bytes() for path in newest.parent.rglob("*") if path.is_file()} == before
    assert last_good(run_folder) == newest


def test_fewer_iterations_than_were_made_are_refused_before_anything_is_written(
    finished: Path, run_folder: Path
) -> None:
    before = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    with pytest.raises(
        ConfigError,
        match=r"^training\.iterations: 2, but the run is at iteration 4 already; name 4 or more, or another",
    ):
        resume(finished, run_folder, training={"iterations": 2, "prompts_per_iteration": 8})
    assert {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()} == before


def test_a_new_run_does_not_start_among_the_checkpoints_of_another(finished: Path, run_folder: Path) -> None:
    for path in run_folder.iterdir():
        if path.name not in ("checkpoints", "config.resolved.yaml"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(
        ConfigError, match="run: the run folder is not empty; add --resume \\(in Python: resume=True\\) to "
    ):
        run(small_recipe(finished, output_dir=str(run_folder), **SETTINGS))
    assert not (run_folder / "metrics.jsonl").exists()
    for path in (run_folder / "checkpoints").iterdir():
        shutil.rmtree(path)
    run(small_recipe(finished, output_dir=str(run_folder), **SETTINGS))


def test_every_setting_that_differs_is_named(finished: Path, run_folder: Path) -> None:
    algorithm = {**SETTINGS["algorithm"], "mask_top_p": 0.7}
    with pytest.raises(CheckpointError) as caught:
        resume(finished, run_folder, algorithm=algorithm, kl={"kl_coef": 0.3}, checkpoint={"every": 3})
    assert str(caught.value).splitlines()[1:] == [
        "  algorithm.mask_top_p: 0.8 in the checkpoint, 0.7 now",
        "  kl.kl_coef: 0.1 in the checkpoint, 0.3 now",
        "a run goes on with the settings and files that it began with: leave these out to continue it, or train anew in "
        "another output_dir (--output)",
    ]
    assert (run_folder / "checkpoints" / "step-000004").is_dir()


def test_a_model_of_another_shape_is_refused_by_its_tensors(run_folder: Path, tmp_path: Path) -> None:
    other = small_loop(tmp_path, "llama", **{**SETTINGS, "output_dir": str(tmp_path / "other")})
    other.checkpoints.fingerprint = json.loads((run_folder / "checkpoints" / "step-000004" / "state.json").read_text())[
        "fingerprint"
    ]
    other.checkpoints.folder = run_folder / "checkpoints"
    with pytest.raises(CheckpointError, match=r"policy\.safetensors: tensors differ from the model's: lm\."):
        other.checkpoints.load(4, other.state)


# --- what is saved


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    loop = small_loop(tmp_path)
    loop.state.step = 1
    loop.checkpoints.save(loop.state)
    loop.state.step = 2
    with torch.no_grad():
        loop.models.policy.lm.transformer.ln_f.bias[3] = float("inf")
    with pytest.raises(
        NonFiniteError,
        match=r"the weight lm\.transformer\.ln_f\.bias is nan or infinite after iteration 2; it was not saved",
    ):
        loop.checkpoints.save(loop.state)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000001"]
    assert verify(tmp_path / "run" / "checkpoints" / "step-000001") is None


def test_overwriting_the_only_checkpoint_never_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one fails at every possible place in turn."""
    loop = small_loop(tmp_path)
    loop.state.step = 1
    folder = loop.checkpoints.save(loop.state)
    before = load_file(folder / "policy.safetensors")
    original = checkpoint.save_file
    for nth in range(2):

        def fails(tensors: Any, path: Path, left: list[int] = [nth]) -> None:  # noqa: B006
            if not left[0]:
                raise OSError("broken")
            left[0] -= 1
            original(tensors, path)

        monkeypatch.setattr(checkpoint, "save_file", fails)
        with pytest.raises(OSError, match="broken"):
            loop.checkpoints.save(loop.state)
        assert verify(folder) is None
    assert [path.name for path in folder.parent.iterdir()] == ["step-000001"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_file(folder / "policy.safetensors").items())


def test_a_best_checkpoint_that_is_damaged_is_named_at_the_end(finished: Path, tmp_path: Path) -> None:
    best = {"checkpoint": {"every": 1, "keep_last": 1, "best": "eval/kl_per_token", "best_mode": "min"}}
    folder = tmp_path / "run"
    run(small_recipe(finished, output_dir=str(folder), **{**SETTINGS, **best}))
    (folder / "checkpoints" / "step-000000" / "policy.safetensors").unlink()
    (folder / "result.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        resume(finished, folder, **best)
    assert str(caught.value) == (
        f"{folder / 'checkpoints' / 'step-000000'}, the best checkpoint: policy.safetensors is missing; "
        f"the model of the last iteration is in {folder / 'model'}"
    )
    assert not (folder / "result.json").exists()


# --- what else a run folder holds


def test_what_interrupted_writes_left_is_removed_on_resume(finished: Path, run_folder: Path) -> None:
    checkpoints = run_folder / "checkpoints"
    (checkpoints / ".step-000004.writing").mkdir()
    (checkpoints / ".step-000004.writing" / "policy.safetensors").write_bytes(b"half")
    (checkpoints / "step-000004").rename(checkpoints / ".step-000004.replaced")  # the crash was between two renames
    (run_folder / ".model.writing").mkdir()
    (run_folder / ".config.resolved.yaml.writing").write_text("name: ")
    (run_folder / "samples" / ".step-000002.jsonl.writing").write_text("{")
    resume(finished, run_folder)
    assert outcome(run_folder) == outcome(finished / "run")


@pytest.mark.parametrize("tail", ['{"step": 4, "rollout/sco', '{"step": 5}\n{"step"', "\0\0\0\0", "\udc80\n"])
def test_a_torn_line_at_the_end_of_the_metrics_is_dropped(finished: Path, run_folder: Path, tail: str) -> None:
    shutil.rmtree(run_folder / "checkpoints" / "step-000004")
    metrics = run_folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_bytes("".join(lines[:4]).encode() + tail.encode(errors="surrogateescape"))
    resume(finished, run_folder)
    assert outcome(run_folder) == outcome(finished / "run")


def test_damaged_lines_before_the_checkpoint_are_told(
    finished: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = run_folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text(lines[0] + "{half a line\n" + "".join(lines[3:]))
    resume(finished, run_folder)
    assert f"{metrics}: the lines of these iterations are damaged or missing: 1, 2" in capsys.readouterr().err
    assert [line["step"] for line in metric_lines(run_folder)] == [0, 3, 4]


def test_samples_agree_with_the_metrics_after_a_resume(finished: Path, run_folder: Path) -> None:
    """A text file of an evaluation that the checkpoint does not know goes, and is written again."""
    shutil.rmtree(run_folder / "checkpoints" / "step-000004")
    (run_folder / "samples" / "step-000009.jsonl").write_text("{}\n")
    (run_folder / "samples" / "step-000004.jsonl").write_text("{}\n")
    resume(finished, run_folder)
    assert outcome(run_folder) == outcome(finished / "run")


def test_a_run_without_a_checkpoint_starts_over(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    shutil.copy(finished / "run" / "config.resolved.yaml", folder)
    shutil.copy(finished / "run" / "env.json", folder)
    (folder / "metrics.jsonl").write_text((finished / "run" / "metrics.jsonl").read_text()[:1000])
    (folder / "samples" / "step-000000.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="not empty; add --resume"):
        run(small_recipe(finished, output_dir=str(folder), **SETTINGS))
    resume(finished, folder)
    assert "no checkpoint yet: starting over" in capsys.readouterr().err
    assert outcome(folder) == outcome(finished / "run")
