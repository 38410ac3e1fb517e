"""The tutorial notebook runs from top to bottom in a Jupyter kernel, and is committed without what it printed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT

NOTEBOOK = ROOT / "examples" / "tutorial.ipynb"


def cells(notebook: Any, kind: str) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_it_is_committed_without_outputs_and_its_links_lead_somewhere() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    for cell in cells(notebook, "code"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
    texts = ["".join(cell["source"]) for cell in cells(notebook, "markdown")]
    targets = [target for text in texts for target in re.findall(r"\]\(([^)#:]+)", text)]
    assert len(targets) > 4
    assert [target for target in targets if not (NOTEBOOK.parent / target).exists()] == []


@pytest.mark.slow
def test_it_runs_in_a_kernel(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, kernel_name="python3", timeout=280, resources=where).execute()  # a cell that fails raises
    outputs = [output for cell in cells(notebook, "code") for output in cell.outputs]
    shown = [output.data for output in outputs if output.output_type in ("execute_result", "display_data")]
    assert sum("image/png" in data for data in shown) == 1  # the curves
    html = [data.get("text/html", "") for data in shown]
    assert sum("<table" in text and "<iframe" not in text for text in html) == 3  # two results, the data frame
    assert sum(text.startswith("<iframe") for text in html) == 2  # the report, the comparison
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    rewards = [float(number) for number in re.findall(r"iterations: reward (-?[\d.]+)", printed)]
    assert len(rewards) == 4  # before, and after 5, 10 and 15 iterations
    assert rewards[-1] > rewards[0] + 0.4
    history = (tmp_path / "runs" / "tutorial-ppo" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in history] == list(range(26))  # it went on from 15 to 25
