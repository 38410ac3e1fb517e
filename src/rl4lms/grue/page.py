"""Pages of a leaderboard: everything on one (`report`), or one for the board and one for each task (`site`).

They are made of the files of cells alone, load nothing, and have one script, for the texts.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rl4lms import reporting
from rl4lms.errors import ConfigError, plural
from rl4lms.grue import sections
from rl4lms.grue.access import Access
from rl4lms.grue.board import Groups, TaskBoard, boards_of, by_system, read_cells, read_groups
from rl4lms.grue.formats import number_text
from rl4lms.grue.overall import Overall, overall_boards
from rl4lms.grue.people import read_all
from rl4lms.grue.spec import recipe_of
from rl4lms.grue.submission import grids
from rl4lms.grue.submission_file import Submission, read_submission
from rl4lms.grue.verify import TIERS
from rl4lms.reporting import Block, Cell, Paragraph, Preformatted, Section, Table
from rl4lms.runs.outputs import check_file, check_folder
from rl4lms.runs.storage import replacing, write_text
from rl4lms.tasks import build as build_task
from rl4lms.tasks import samples_of, task_of
from rl4lms.types import Sample

_Key = tuple[str, int, str]


class Leaderboard:
    """What the pages show.

    Args:
        folder: of a grid, or of submissions.
        access: how cells are opened; None: without the texts of test prompts.
        human: files of studies in which people judged the systems.

    Raises:
        ConfigError, DataError: as `board.read_cells` and `people.read_all`.
    """

    def __init__(self, folder: Path, access: Access | None, human: Sequence[Path] = ()) -> None:
        self.folder, self.access = folder, access
        self.groups: Groups = read_groups(folder, "own")
        self.shared: Groups = read_groups(folder, "shared")
        self.overall: list[Overall] = overall_boards(self.groups)
        self.people = read_all(human, [task for task, _, _ in self.groups])
        self.boards = dict(zip(self.groups, boards_of(self.groups), strict=True))
        self.shared_boards = dict(zip(self.shared, boards_of(self.shared), strict=True))
        # systems in one order everywhere, so that a colour means the same in every chart
        self.places: dict[_Key, dict[str, list[Path]]] = {
            key: {system: [] for system in by_system(cells)} for key, cells in self.groups.items()
        }
        for place, result in read_cells(folder):
            if result.decoding == "own":
                key = (result.task, result.task_version, result.edition)
                self.places[key][result.system].append(place)
        found = [read_submission(grid) for grid in grids(folder)]
        self.submissions: list[Submission] = [said for said in found if said is not None]

    def name(self, key: _Key) -> str:
        """Return what a task is called on pages: with edition or version only where the name alone is not one task."""
        task, version, edition = key
        alike = [other for other in self.groups if other[0] == task]
        if len(alike) == 1:
            return task
        return f"{task} {edition}" if len({e for _, _, e in alike}) == len(alike) else f"{task} {edition} {version}"

    @property
    def about(self) -> str:
        """What the board is of, in one line."""
        cells = [cell for group in self.groups.values() for cell in group]
        systems, seeds = ({getattr(c.result, what) for c in cells} for what in ("system", "seed"))
        editions = " and ".join(dict.fromkeys(c.result.edition for c in cells))
        counts = [plural(len(self.groups), "task"), plural(len(systems), "system"), plural(len(seeds), "seed")]
        return f"{', '.join(counts)}, {editions} edition: {plural(len(cells), 'run')}"

    def summary(self) -> list[Section]:
        """Return the sections that are of all tasks."""
        found = []
        for board in self.overall:
            title = "Overall" if len(self.overall) == 1 else f"Overall, {board.edition} edition"
            same = [other for other in overall_boards(self.shared) if other.edition == board.edition]
            found.append(Section(title, sections.overall_blocks(board, same[0] if same else None)))
        maps = [self._map(key) for key in self.groups]
        drawn = [one for one in maps if one is not None]
        if drawn:
            note = (
                "A system that only learned to please its reward moves up without moving right. Small points are "
                "runs, large ones the means of a system. No metric here is the model that was the reward."
            )
            found.append(Section("Task against naturalness", [reporting.scatter_charts(drawn), Paragraph(note)]))
        return found

    def _map(self, key: _Key) -> tuple[reporting.LinePlot, dict[str, reporting.Cloud]] | None:
        named = getattr(build_task({"name": key[0], "edition": key[2]}), "board", {}) if self._is_known(key) else {}
        there = {metric for cell in self.groups[key] for metric in cell.result.metrics}
        task, natural = ([m for m in named.get(kind, ()) if m in there] for kind in ("task", "naturalness"))
        if not task or not natural:
            return None
        return sections.against(self.groups[key], natural[0], task[0], self.name(key))

    def _is_known(self, key: _Key) -> bool:
        from rl4lms.plugins import registry

        return key[0] in registry.tasks.names()

    def of_task(self, key: _Key) -> list[Block]:
        """Return what is shown of one task."""
        board, shared = self.boards[key], self.shared_boards.get(key)
        blocks: list[Block] = [sections.task_table(board)]
        if shared is not None:
            blocks.append(sections.task_table(shared))
        blocks += [sections.people_table(scores) for scores in self.people if scores.task == key[0]]
        blocks += sections.curve_blocks(self.places[key])
        if self.access is not None:
            shown = [*board.columns, *(["reward"] if "reward" not in board.columns else [])]
            blocks.append(sections.browser(self.groups[key], self._samples(key, self.access), shown))
        return blocks

    def _samples(self, key: _Key, access: Access) -> dict[str, Sample]:
        """Return the prompts and references of a task."""
        spec = access.open(next(iter(self.places[key].values()))[0])
        return {sample.id: sample for sample in samples_of(task_of(recipe_of(spec)), "test")}

    def background(self) -> list[Section]:
        """Return what was run, how far it was checked, and how anybody can do both."""
        cells = [cell for group in self.groups.values() for cell in group]
        results = [cell.result for cell in cells]
        versions = sorted({f"{name} {v}" for r in results for name, v in r.packages.items() if v is not None})
        commits = sorted({r.git_commit for r in results if r.git_commit is not None})
        said = [f"Measured with {', '.join(versions)}."]
        said += [f"Commits: {', '.join(commits)}."] if commits else []
        counts = {tier: sum(cell.tier == tier for cell in cells) for tier in TIERS}
        tiers = Table(
            ["tier", "runs", "what it says"],
            [
                ["reported", str(counts["reported"]), "the numbers of the files, whose schema is checked"],
                ["re-scored", str(counts["re-scored"]), "every metric was computed again from the predictions"],
                ["re-run", str(counts["re-run"]), "trained again from recipe and seed, to the same texts and numbers"],
            ],
            numeric=False,
        )
        keys = ["/".join((r.task, r.system, f"seed-{r.seed}")) for r in results]
        some = next((k for k, r in zip(keys, results, strict=True) if r.algorithm is not None), keys[0])
        folder = shlex.quote(self.folder.as_posix())
        commands = f"rl4lms grue verify {folder}\nrl4lms grue reproduce {folder} {some}\nrl4lms grue report {folder}"
        found = [Section("What was run", [Paragraph(" ".join(said)), sections.cost_table(cells)])]
        if self.submissions:
            blocks: list[Block] = [sections.submission_table(self.submissions)]
            overlap = sections.overlap_table(self.submissions)
            found.append(Section("Submissions", [*blocks, *([overlap] if overlap is not None else [])]))
        found.append(Section("How far it was checked", [tiers, Preformatted(commands)]))
        return found


def report(folder: Path, output: Path, access: Access | None, title: str = "", human: Sequence[Path] = ()) -> None:
    """Write everything on one page.

    Args:
        folder: of a grid, or of submissions.
        output: the HTML file.
        access: how cells are opened; None: without the texts of test prompts.
        title: of the page.
        human: files of studies in which people judged the systems.
    """
    check_file(output, "--output")
    board = Leaderboard(folder, access, human)
    parts = [
        *board.summary(),
        *(Section(board.name(key), board.of_task(key)) for key in board.groups),
        *board.background(),
    ]
    links = [(part.title, f"#{part.anchor}") for part in parts]
    write_text(output, reporting.page(title or "GRUE", parts, subtitle=board.about, links=links))


def site(folder: Path, output: Path, access: Access | None, title: str = "", human: Sequence[Path] = ()) -> list[str]:
    """Write a page for the board and one for each task; see `report`.

    Args:
        folder: of a grid, or of submissions.
        output: the folder, which is made.
        access: how cells are opened; None: without the texts of test prompts.
        title: of the first page.
        human: files of studies in which people judged the systems.

    Returns:
        The names of the pages.
    """
    check_folder(output)
    board = Leaderboard(folder, access, human)
    title = title or "GRUE"
    files = {key: f"{board.name(key).replace(' ', '-')}.html" for key in board.groups}
    if "index.html" in files.values():
        raise ConfigError("task 'index': its page would be that of the board; give the task another name")
    with replacing(output) as temporary:
        parts = [*board.summary(), Section("Tasks", [_tasks(board, files)]), *board.background()]
        links = [(board.name(key), name) for key, name in files.items()]
        page = reporting.page(title, parts, subtitle=board.about, links=links)
        write_text(temporary / "index.html", page)
        for key, name in files.items():
            here = [(title, "index.html"), *((n, address) for n, address in links if address != name)]
            page = reporting.page(board.name(key), [Section("", board.of_task(key))], subtitle=title, links=here)
            write_text(temporary / name, page)
    return ["index.html", *files.values()]


def _tasks(board: Leaderboard, files: Mapping[_Key, str]) -> Table:
    """Return the first metric of every task, for every system."""
    systems = list(by_system([cell for group in board.groups.values() for cell in group]))
    rows: list[list[str | Cell]] = []
    for key, table in board.boards.items():
        metric = next(iter(table.columns), "")
        cells: list[str | Cell] = [Cell(board.name(key), href=files[key]), metric]
        cells += [_first(table, system, metric) for system in systems]
        rows.append(cells)
    return Table(["task", "metric", *systems], rows, note="Each system at its own decoding. ± is the standard error.")


def _first(table: TaskBoard, system: str, metric: str) -> str | Cell:
    if system not in table.rows or metric not in table.rows[system][1]:
        return "—"
    value, _, error = number_text(table.rows[system][1][metric]).partition(" ± ")
    return Cell(value, f"± {error}" if error else "")
