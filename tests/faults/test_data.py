"""Data that is damaged, odd or huge: the exact message, or the behaviour that is meant."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rl4lms.config.data import DataConfig, PromptConfig
from rl4lms.data.files import FileTask
from rl4lms.errors import DataError
from rl4lms.models.loading import SpecialTokens
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.training.run import run
from rl4lms.types import Sample
from tests.runs import metric_lines, number_prompts, small_loop, small_recipe
from tests.tiny import number_tokenizer, tiny_lm


def task(path: Path | str, **config: Any) -> FileTask:
    return FileTask(DataConfig(train=str(path), holdout=0, **config))


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


# --- what is refused
# ------------------------------------------------------------------------------------------------------------------

GOOD = lines({"prompt": "a"}, {"prompt": "b"})
AS_UTF8 = "data files are read as UTF-8, so save it as UTF-8"
HALF = "is half of a character (a lone surrogate), which no text can hold; remove it"
REFUSED = {
    "empty file": ("d.jsonl", b"", "d.jsonl: no rows"),
    "empty CSV": ("d.csv", b"", "d.csv: no rows"),
    "empty list": ("d.json", b"[]", "d.json: no rows"),
    "blank lines only": ("d.jsonl", b"\n  \n\r\n", "d.jsonl: no rows"),
    "a header only": ("d.csv", b"prompt,topic\n", "d.csv: no rows"),
    "another kind of file": ("d.txt", b"a\n", "d.txt: unknown kind of file; use .jsonl, .json, .csv, .tsv, .parquet"),
    "UTF-16": ("d.jsonl", GOOD.decode().encode("utf-16"), "d.jsonl:1: the file is saved with UTF-16; save it as UTF-8"),
    "UTF-16, big end first": ("d.csv", b"\xfe\xff\0p", "d.csv:1: the file is saved with UTF-16; save it as UTF-8"),
    "UTF-16 without a mark": (
        "d.jsonl",
        GOOD.decode().encode("utf-16-le"),
        "d.jsonl:1: a NUL byte: the file is damaged, or no UTF-8 text",
    ),
    "Latin-1": ("d.jsonl", GOOD + b'{"prompt": "caf\xe9"}\n', f"d.jsonl:3: not UTF-8 text (byte 0xe9); {AS_UTF8}"),
    "Latin-1 in a CSV": ("d.csv", b"prompt\nok\ncaf\xe9\n", f"d.csv:3: not UTF-8 text (byte 0xe9); {AS_UTF8}"),
    "Latin-1 in a list": ("d.json", b'["a",\n"caf\xe9"]', f"d.json:2: not UTF-8 text (byte 0xe9); {AS_UTF8}"),
    "NUL": ("d.jsonl", GOOD + b'{"prompt": "a\0b"}\n', "d.jsonl:3: a NUL byte: the file is damaged, or no UTF-8 text"),
    "NUL in a CSV": ("d.csv", b"prompt\na\0b\n", "d.csv:2: a NUL byte: the file is damaged, or no UTF-8 text"),
    "not JSON": (
        "d.jsonl",
        GOOD + b"{oops\n",
        "d.jsonl:3: not JSON: Expecting property name enclosed in double quotes (column 2)",
    ),
    "a torn last line": (
        "d.jsonl",
        GOOD + b'{"prompt": "c',
        "d.jsonl:3: not JSON: Unterminated string starting at (column 12)",
    ),
    "two objects on a line": (
        "d.jsonl",
        b'{"prompt": "a"} {"prompt": "b"}\n',
        "d.jsonl:1: not JSON: Extra data (column 17)",
    ),
    "a list on a line": (
        "d.jsonl",
        GOOD + b'["a"]\n',
        'd.jsonl:3: expected an object such as {"prompt": "..."}, got list',
    ),
    "a text on a line": ("d.jsonl", b'"a"\n', 'd.jsonl:1: expected an object such as {"prompt": "..."}, got str'),
    "null on a line": ("d.jsonl", b"null\n", 'd.jsonl:1: expected an object such as {"prompt": "..."}, got NoneType'),
    "lines in a .json": ("d.json", GOOD, "d.json: not JSON: Extra data (line 2, column 1)"),
    "one object in a .json": (
        "d.json",
        b"{}",
        "d.json: expected a list of rows, got dict; one object per line is called .jsonl",
    ),
    "numbers in a .json": ("d.json", b'["a", 5]', "d.json, row 2: expected a mapping of columns, got int"),
    "deep nesting": ("d.jsonl", b'{"prompt": ' + b"[" * 100_000, "d.jsonl:1: nested too deeply"),
    "5,000 digits": (
        "d.jsonl",
        b'{"prompt": "a", "n": ' + b"9" * 5000 + b"}",
        "d.jsonl:1: an integer with too many digits",
    ),
    "half of a character": ("d.jsonl", GOOD + b'{"prompt": "x\\ud83d"}\n', f"d.jsonl:3: \\ud83d {HALF}"),
    "half of a character in a column": (
        "d.jsonl",
        b'{"prompt": "x", "notes": [{"\\uDE00": 1}]}\n',
        f"d.jsonl:1: \\ude00 {HALF}",
    ),
    "no prompt": (
        "d.jsonl",
        GOOD + b'{"text": "a", "n": 1}\n',
        "d.jsonl:3: no column 'prompt'; there are: text, n; name the one with the prompts with data.prompt_column",
    ),
    "no columns": ("d.jsonl", b"{}\n", "d.jsonl:1: no column 'prompt'; the row has none"),
    "no header": (
        "d.tsv",
        b"a text\t1\nanother\t2\n",
        "d.tsv:2: no column 'prompt'; the first line is read as the names of columns: a text, 1; if it is a row, write the "
        "names above it, and if one of them has the prompts, say so with data.prompt_column",
    ),
    "prompt null": (
        "d.jsonl",
        b'{"prompt": null}\n',
        "d.jsonl:1: 'prompt' must be a text or a list of messages, got NoneType",
    ),
    "prompt a message without content": (
        "d.jsonl",
        b'{"prompt": [{"role": "user"}]}\n',
        "d.jsonl:1: 'prompt', message 1: 'content' must be a text, got none",
    ),
    "reference a number": (
        "d.jsonl",
        b'{"prompt": "a", "references": 5}\n',
        "d.jsonl:1: 'references' must be a text or a list of texts, got int; None where there is none",
    ),
    "references with null": (
        "d.jsonl",
        b'{"prompt": "a", "references": ["r", null]}\n',
        "d.jsonl:1: 'references' must be a text or a list of texts, got a list with None; leave it out, or make it a "
        "text ('' is an empty one)",
    ),
    "references NaN": (
        "d.jsonl",
        b'{"prompt": "a", "references": NaN}\n',
        "d.jsonl:1: 'references' must be a text or a list of texts, got float; None where there is none",
    ),
    "completion a number": (
        "d.jsonl",
        b'{"prompt": "a", "completion": 5}\n',
        "d.jsonl:1: 'completion' must be a text, got int",
    ),
    "one id twice": (
        "d.jsonl",
        b"\n"
        + lines(
            {"prompt": "a", "id": 7}, {"prompt": "b", "id": 8}, {"prompt": "c", "id": 8}, {"prompt": "d", "id": "7"}
        ),
        "d.jsonl:4: the id '8' is that of d.jsonl:3, too; ids name samples, so make them differ, or call the column "
        "something else",
    ),
    "one id twice in a CSV": (
        "d.csv",
        b'prompt,id\n"a\nb",x\nc,x\n',
        "d.csv:4: the id 'x' is that of d.csv:2, too; ids name samples, so make them differ, or call the column "
        "something else",
    ),
    "a cell too many": (
        "d.csv",
        b"prompt,n\na,1\nb, c,2\n",
        "d.csv:3: more cells than the header has; put quotes around texts with a separator in them",
    ),
    "a cell too few": ("d.csv", b"prompt,n\na,1\n\nb\n", "d.csv:4: 1 cell where the header has 2"),
    "a quote never closed": (
        "d.csv",
        b'prompt\na\n"b\nc\n',
        "d.csv:3: a quotation mark is opened here and never closed",
    ),
    "a quote never closed in a long file": (
        "d.csv",
        b'prompt\n"a\n' + b"b\n" * 100_000,
        "d.csv:2: a cell of more than 131,072 characters; is a quotation mark never closed?",
    ),
    "text after a quote": (
        "d.csv",
        b'prompt\n"a" b\n',
        "d.csv:2: text after a closing quotation mark; inside a quoted text, double the marks",
    ),
    "text after a quote in a TSV": (
        "d.tsv",
        b'prompt\tn\n"a" b\t1\n',
        "d.tsv:2: text after a closing quotation mark; inside a quoted text, double the marks",
    ),
    "a column twice": ("d.csv", b"prompt,n,prompt\na,1,b\n", "d.csv:1: the column 'prompt' comes twice"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Messages name the file as given, so tests use a short relative name."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "content", "message"), REFUSED.values(), ids=REFUSED)
def test_damaged_files_are_refused_with_file_and_line(here, name, content, message):
    (here / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        task(name).samples("train")
    assert str(caught.value) == message


def test_what_is_no_file(here):
    (here / "folder.jsonl").mkdir()
    (here / "folder").mkdir()
    os.mkfifo(here / "pipe.jsonl")
    ends = ".jsonl, .json, .csv, .tsv, .parquet"
    or_saved = f"{ends}, or a folder that Dataset.save_to_disk wrote"
    messages = {
        "folder.jsonl": f"folder.jsonl: a folder; name a file that ends in {or_saved}",
        "folder": f"folder: a folder; name a file that ends in {or_saved}",
        "pipe.jsonl": f"pipe.jsonl: no regular file; name a file that ends in {or_saved}",
        "none.jsonl": f"none.jsonl: no such file; data files end in {ends}, anything else is a Hub id",
        "x" * 300: "x" * 100 + ": cannot be read: File name too long",
    }
    for name, message in messages.items():
        with pytest.raises(DataError) as caught:
            task(name).samples("train")
        assert str(caught.value) == message
    with pytest.raises(
        DataError, match=r"^trian: there is no such file, it is not in the cache \(.*\), and the Hub cannot be reached"
    ):
        task("trian").samples("train")


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_damaged_parquet(here):
    import pyarrow
    import pyarrow.parquet

    whole = parquet(here / "d.parquet", [{"prompt": f"text {i}", "n": i} for i in range(3000)]).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PAR1", whole[:100] + bytes(200) + whole[300:]):
        (here / "d.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"^d\.parquet: not a Parquet file, or a damaged one: [^\n]+$"):
            task("d.parquet").samples("train")
    parquet(here / "d.parquet", [{"prompt": "a", "id": 1}, {"prompt": None, "id": 2}])
    with pytest.raises(
        DataError, match=r"^d\.parquet, row 2: 'prompt' must be a text or a list of messages, got NoneType$"
    ):
        task("d.parquet").samples("train")
    parquet(here / "d.parquet", [{"prompt": "a", "id": 1}] * 2)
    with pytest.raises(DataError, match=r"^d\.parquet, row 2: the id '1' is that of d\.parquet, row 1, too; "):
        task("d.parquet").samples("train")
    parquet(here / "d.parquet", [{"text": "a"}])
    with pytest.raises(DataError, match=r"^d\.parquet, row 1: no column 'prompt'; there are: text; name "):
        task("d.parquet").samples("train")
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["prompt", "prompt"])
    pyarrow.parquet.write_table(twice, here / "d.parquet")
    with pytest.raises(DataError, match=r"^d\.parquet: the column 'prompt' comes twice$"):
        task("d.parquet").samples("train")
    latin = pyarrow.Array.from_buffers(
        pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0"), pyarrow.py_buffer(b"\xe9")]
    )
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays([latin], names=["prompt"]), here / "d.parquet")
    with pytest.raises(
        DataError,
        match=r"^d\.parquet, row 1, or soon after it: a value cannot be read: 'utf-8' codec can't decode byte 0xe9",
    ):
        task("d.parquet").samples("train")


# --- what is read, and how
# ------------------------------------------------------------------------------------------------------------

ODD = [
    "",
    " ",
    "\u200b\u200d",
    "👩🏽\u200d🚀 \U0001f1e9\U0001f1ea",
    "שלום עולם مرحبا",
    "e\u0301 é ﬁ",
    "a\u2028b\u0085c\x0bd\te",
    "nul \0 inside",
    "\ufeff",
]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("escaped", [True, False])
def test_every_text_arrives_as_it_was_written(tmp_path, ending, mark, escaped):
    path = tmp_path / "d.jsonl"
    rows = [
        json.dumps({"prompt": text, "references": [text], "same": text}, ensure_ascii=escaped or "\0" in text)
        for text in ODD
    ]
    path.write_bytes((mark + (ending + ending).join(rows)).encode())  # blank lines between, none at the end
    samples = task(path).samples("train")
    assert [sample.prompt for sample in samples] == ODD
    assert [(sample.references, sample.meta) for sample in samples] == [((text,), {"same": text}) for text in ODD]
    assert [sample.id for sample in samples] == [str(number) for number in range(1, len(ODD) + 1)]


def test_cells_over_several_lines_and_marks_inside_them(tmp_path):
    path = tmp_path / "d.csv"
    path.write_bytes('\ufeffprompt,references,n\r\n"a\nb","say ""x""",\r\n\r\nשלום,,2\r\n'.encode())
    samples = task(path).samples("train")
    assert [(s.prompt, s.references, s.meta) for s in samples] == [
        ("a\nb", ('say "x"',), {"n": ""}),
        ("שלום", (), {"n": "2"}),
    ]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({}, ()),
        ({"references": None}, ()),
        ({"references": ""}, ("",)),
        ({"references": []}, ()),
        ({"references": [""]}, ("",)),
    ],
)
def test_missing_and_empty_references(tmp_path, given, meant):
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines({"prompt": "a", **given}))
    assert task(path).samples("train")[0].references == meant


def test_nested_columns_arrive_whole_and_anew(tmp_path):
    facts = {"list": [1, 2.5, None, True], "inner": {"é": []}}
    for path in (tmp_path / "d.jsonl", tmp_path / "d.json", tmp_path / "d.parquet"):
        if path.suffix == ".parquet":
            parquet(path, [{"prompt": "a", "facts": [{"x": [1]}]}] * 2)
        else:
            path.write_text(
                json.dumps({"prompt": "a", "facts": facts})
                if path.suffix == ".jsonl"
                else json.dumps([{"prompt": "a", "facts": facts}])
            )
        samples = task(path).samples("train")
        assert samples[0].meta["facts"] == ([{"x": [1]}] if path.suffix == ".parquet" else facts)
        samples[0].meta["facts"].clear()  # a sample is made anew whenever it is asked for
        assert samples[0].meta["facts"]


def test_a_view_is_a_sequence(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines(*({"prompt": f"p{i}"} for i in range(10))))
    samples = task(path).samples("train")
    assert (len(samples), samples[-1].prompt, samples[3:5][1].prompt) == (10, "p9", "p4")
    assert [sample.prompt for sample in samples[::-3]] == ["p9", "p6", "p3", "p0"]
    assert samples[4] in samples
    with pytest.raises(IndexError):
        samples[10]
    with pytest.raises(IndexError):
        samples[2:4][2]


def test_a_file_that_changes_while_it_is_used(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines({"prompt": "a"}, {"prompt": "b"}))
    samples = task(path).samples("train")
    path.rename(tmp_path / "moved.jsonl")
    path.write_bytes(lines({"prompt": "x"}, {"prompt": "y"}))
    assert samples[1].prompt == "b"  # the file that was opened is still there
    with (tmp_path / "moved.jsonl").open("a") as file:
        file.write('{"prompt": "c"}\n')
    with pytest.raises(DataError) as caught:
        samples[1]
    assert (
        str(caught.value)
        == f"{path} was changed while it was in use; put the old one back and resume, or start a new run"
    )


def test_a_new_time_alone_changes_nothing(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines({"prompt": "a"}, {"prompt": "b"}))
    samples = task(path).samples("train")
    path.touch()
    assert [sample.prompt for sample in samples] == ["a", "b"]


@pytest.mark.parametrize("name", ["mac.jsonl", "mac.csv"])
def test_line_ends_of_an_old_macintosh(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b'{"prompt": "a"}\r{"prompt": "b"}\r' if name.endswith("jsonl") else b"prompt,id\ra,1\rb,2\r")
    with pytest.raises(DataError) as caught:
        task(path).samples("train")
    reason = "lines end in a bare carriage return (an old Macintosh file); save it with ordinary line ends"
    assert str(caught.value) == f"{path}:1: {reason}"


# --- prompts
# ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a\ud800b", "prompt 's': \\ud800 is half of a character (a lone surrogate), which no text can hold"),
        (5, "prompt 's': must be a text, got int"),
    ],
)
def test_prompts_of_other_tasks_are_checked(prompt, message):
    encoder = PromptEncoder(number_tokenizer(), SpecialTokens((1,), 0, (), 24), PromptConfig(max_tokens=8))
    with pytest.raises(DataError) as caught:
        encoder([Sample("s", prompt)])
    assert str(caught.value) == message


def byte_model(folder: Path) -> Path:
    """A tiny model whose tokens are bytes, so that every text can be a prompt."""
    vocab = {
        "<pad>": 0,
        "</s>": 1,
        "<s>": 2,
        **{char: i + 3 for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))},
    }
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=80, **names).save_pretrained(folder)
    tiny_lm("gpt2", vocab_size=len(vocab)).save_pretrained(folder)
    return folder


def test_odd_prompts_are_trained_on(tmp_path):
    prompts = [*ODD, "</s>", "<pad></s><s>", "x" * 10_000, "😀" * 50]
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines(*({"prompt": prompt} for prompt in prompts)))
    training = {"iterations": 2, "prompts_per_iteration": len(prompts)}
    model = {"path": str(byte_model(tmp_path / "bytes"))}
    loop = small_loop(
        tmp_path,
        model=model,
        data={"train": str(path), "validation": str(path)},
        prompt={"max_tokens": 20},
        training=training,
    )
    seen: list[str] = []
    whole: list[str] = []

    def reward(prompts, full_prompts, completions, texts):
        seen.extend(prompts)
        whole.extend(full_prompts)
        assert all(isinstance(text, str) for text in completions)
        assert all(isinstance(text, str) for text in texts)
        return [float(len(text)) for text in completions]

    loop.reward = reward
    numbers = loop.step(0)
    assert sorted(whole) == sorted(prompts)
    # what was not cut as it is, special tokens and all; of the others the end, as the model read it
    assert all(of in (prompt, prompt[-len(of) :]) for of, prompt in zip(seen, whole, strict=True))
    assert {"</s>", "<pad></s><s>", "x" * 20, "😀" * 5} <= set(seen)
    bytes_of = [len(prompt.encode()) for prompt in prompts if not prompt.startswith("<")]
    assert numbers["rollout/truncated_prompts"] == sum(length > 20 for length in bytes_of) > 3
    assert all(math.isfinite(value) for key, value in numbers.items() if key not in ("train/explained_variance",))
    rows = loop.engine.encoder([Sample("empty", ""), Sample("special", "</s>"), Sample("long", "x" * 10_000)])
    assert (rows[0], rows[1], len(rows[2])) == ([2], [1], 20)


def ending_at_once(folder: Path) -> Path:
    """A model that gives EOS all the probability there is."""
    lm, tokenizer = tiny_lm("gpt2", vocab_size=len(number_tokenizer())), number_tokenizer()
    with torch.no_grad():
        eos = lm.transformer.wte.weight[1]
        lm.transformer.ln_f.weight.zero_()
        lm.transformer.ln_f.bias.copy_(200 * eos / eos.square().sum())
    lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_when_every_completion_is_empty_training_goes_on(tmp_path):
    reward = tmp_path / "seen.py"
    reward.write_text(
        "def seen(completions):\n    assert set(completions) == {''}\n    return [0.5] * len(completions)\n"
    )
    metrics = [{"name": "diversity"}, {"name": "rouge"}]
    recipe = small_recipe(
        tmp_path,
        model={"path": str(ending_at_once(tmp_path / "ending"))},
        reward={"name": f"{reward}:seen"},
        evaluation={"every": 0, "prompts": 8, "metrics": metrics},
    )
    run(recipe)
    first, *steps = metric_lines(tmp_path / "run")
    assert (first["eval/completion_tokens"], first["eval/terminated"], first["eval/rouge1"]) == (1, 1, 0)
    assert [line["rollout/completion_tokens"] for line in steps] == [1, 1, 1]
    assert [line["rollout/score"] for line in steps] == [0.5] * 3
    assert all(line["train/updates"] > 0 for line in steps)


def test_a_single_row_is_trained_on_again_and_again(tmp_path):
    path = number_prompts(tmp_path / "one.jsonl", rows=1)
    loop = small_loop(tmp_path, data={"train": str(path), "validation": str(path)})
    assert loop.step(0)["rollout/completion_tokens"] > 0
    assert {sample.id for sample in loop.samples} == {"1"}


def test_rows_without_references_are_left_out(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines({"prompt": "1", "references": ["1"]}, {"prompt": "2", "references": []}))
    recipe = small_recipe(
        tmp_path,
        data={"train": str(path), "validation": str(path)},
        evaluation={"every": 0, "prompts": 2, "metrics": [{"name": "rouge"}]},
    )
    assert "eval/rouge1" in run(recipe).metrics


# --- many rows
# --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "per_row"), [(".jsonl", 40), (".csv", 170)])
def test_rows_are_not_kept_as_objects(tmp_path, suffix, per_row):
    n, text = (
        20_000,
        "a prompt of about one hundred characters, which is what the prompts of many tasks come to, give or take",
    )
    path = tmp_path / f"d{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(f'{{"prompt": "{i} {text}", "id": {i}}}\n' for i in range(n)))
    else:
        path.write_text("prompt,id\n" + "".join(f'"{i} {text}",{i}\n' for i in range(n)))
    tracemalloc.start()
    samples = task(path).samples("train")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(samples), samples[n - 1].prompt) == (n, f"{n - 1} {text}")
    assert kept < per_row * n  # as objects, more than 600 bytes a row


MILLION = """
import json, resource, sys, time
from pathlib import Path
from tests.runs import run_steps, small_loop

folder, data = Path(sys.argv[1]), sys.argv[2]
start = time.perf_counter()
loop = small_loop(folder, data={"train": data, "validation": str(folder / "numbers.jsonl")}, output_dir=str(folder / sys.argv[3]))
loaded = time.perf_counter() - start
numbers = run_steps(loop, 3)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"rows": len(loop.samples), "seconds": loaded, "peak_mb": peak, "tokens": numbers[-1]["rollout/completion_tokens"]}))
"""


@pytest.mark.slow
def test_a_million_rows_cost_little_memory(tmp_path):
    small_recipe(tmp_path)  # writes the model and 64 prompts
    path = tmp_path / "million.jsonl"
    with path.open("w") as file:
        for i in range(1_000_000):
            file.write(
                json.dumps(
                    {
                        "prompt": f"{i % 20} 12 13 1 8 16 15 12 9 15 11 18 6 16 4 9 4 3 19 8 17 19 4 9 3 2 10 15 17 3 "
                        f"11 13 10 19 1"
                    }
                )
                + "\n"
            )

    def figures(data: Path, folder: str) -> dict[str, float]:
        command = [sys.executable, "-c", MILLION, str(tmp_path), str(data), folder]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=280, cwd=Path(__file__).parents[2]
        )
        return json.loads(done.stdout.splitlines()[-1])

    few, many = figures(tmp_path / "numbers.jsonl", "few"), figures(path, "many")
    more = (
        f"{many['peak_mb'] - few['peak_mb']} MB more than with 64 rows; read in "
        f"{many['seconds'] - few['seconds']:.1f} s"
    )
    print(f"\na million rows: {many['peak_mb']} MB at most, {more}")
    assert (few["rows"], many["rows"]) == (64, 1_000_000)
    assert many["tokens"] > 0
    assert many["peak_mb"] - few["peak_mb"] < 200
    assert many["seconds"] < 60
