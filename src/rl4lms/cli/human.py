"""`rl4lms human`: a study is made, and what its administrator does beside the pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rl4lms.human_eval.forms import Example, Form
    from rl4lms.human_eval.outputs import Found
    from rl4lms.human_eval.plan import Plan

CREATE_EPILOG = (
    "Examples:  rl4lms human create runs/ppo runs/nlpo --items 50 --output studies/a  ·  "
    "rl4lms human create texts.csv --form pairwise --raters 3 --people 12 --attention 2 --output studies/b"
)
INVITE_EPILOG = "Example:  rl4lms human invite studies/a --spares 2"
WITHDRAW_EPILOG = "Example:  rl4lms human withdraw studies/a 7"
PASSWORD_EPILOG = "Example:  rl4lms human password studies/a"

StudyPlace = Annotated[str, typer.Argument(metavar="STUDY", help="Folder of a study, its database file, or a URL.")]
Address = Annotated[str, typer.Option(help="Under which raters reach the pages; it begins their links.")]
_LOCAL = "http://127.0.0.1:8000"


def create(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]PLACE...",
            help="Texts of systems: run folders, grids, folders of submissions, files of rl4lms evaluate --output, or "
            "a CSV, JSONL or Parquet file with prompt, completion and system.",
            show_default=False,
        ),
    ] = None,
    systems: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]PLACE", help="The same, one or more.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the study, which is made.")] = Path("studies/study"),
    form: Annotated[
        str,
        typer.Option(help="likert, pairwise or best_worst, for the task's own form; a form's name; or a YAML file."),
    ] = "likert",
    task: Annotated[
        str | None, typer.Option(help="Which task, where the texts are of several or do not say.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Where the data of the task's full edition is, if not on the Hub.", show_default=False),
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Prompts; every system's texts for them are rated.")] = 50,
    raters: Annotated[int, typer.Option(min=1, help="Ratings of each item, by different people.")] = 3,
    people: Annotated[
        int | None, typer.Option(min=1, help="How many take part; by default as many as --raters.", show_default=False)
    ] = None,
    spares: Annotated[int, typer.Option(min=0, help="Further links, for people who take over what others leave.")] = 0,
    checks: Annotated[
        str | None,
        typer.Option(help="JSONL of items with right answers: prompt, completions, answers.", show_default=False),
    ] = None,
    attention: Annotated[int, typer.Option(min=0, help="Checks for every rater that say what to choose.")] = 0,
    repeats: Annotated[int, typer.Option(min=0, help="Items that every rater sees once more.")] = 0,
    stratify: Annotated[
        str | None,
        typer.Option(help="Column whose values are the strata; by default three lengths.", show_default=False),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of a table with a number for each text, which reports hold against people (repeat it).",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="What an answer takes, for the estimate of the cost.")] = 30,
    pay: Annotated[float, typer.Option(min=0, help="What an hour is paid, for the estimate of the cost.")] = 0,
    reclaim_hours: Annotated[float, typer.Option(min=0.1, help="Spares may take items of who was away so long.")] = 48,
    address: Address = _LOCAL,
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Database, if not a file of the folder.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the items, who rates them, and their order.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and what it costs; write nothing.")] = False,
) -> None:
    """Plan a study of texts that people judge, blind to which system wrote them, and write it with its links."""
    from rl4lms.cli import common
    from rl4lms.human_eval.folder import refuse_study, write_study
    from rl4lms.human_eval.forms import find_form
    from rl4lms.human_eval.outputs import read_outputs
    from rl4lms.human_eval.plan import make_plan
    from rl4lms.human_eval.records import Settings

    common.quiet()
    given = [*(places or ()), *(systems or ())]
    if not given:
        raise typer.BadParameter("name the texts of at least one system", param_hint="PLACE")
    if not dry_run:
        refuse_study(output)
    found = read_outputs(given, task=task, stratify=stratify, data=data, metrics=metric or ())
    chosen = find_form(form, task or found.task)
    plan = make_plan(
        found.outputs,
        chosen,
        items=items,
        per_item=raters,
        raters=people or raters,
        checks=_checks(checks, chosen),
        attention=attention,
        repeats=repeats,
        spares=spares,
        seed=seed,
    )
    _show_plan(found, chosen, plan, seconds, pay)
    if dry_run:
        return
    settings = Settings(
        name=output.name,
        task=task or found.task,
        per_item=raters,
        seed=seed,
        seconds=seconds,
        pay_per_hour=pay,
        reclaim_hours=reclaim_hours,
        identical=[(*pair, list(prompts)) for pair, prompts in plan.identical.items()],
        sources=given,
    )
    written = write_study(output, chosen, settings, plan, address=address, database=database)
    print(f"\nlinks     {written.invites}: one for each rater, and one for a platform; nobody else should see them")
    print(f"password  {written.created.password}   of {address.rstrip('/')}/admin; it is shown this once")
    print(f"next      rl4lms human serve {output}")


def _checks(path: str | None, form: Form) -> list[Example]:
    from rl4lms.human_eval.forms import read_checks

    return [] if path is None else [*read_checks(path, form)]


def _show_plan(found: Found, form: Form, plan: Plan, seconds: float, pay: float) -> None:
    from rl4lms.errors import plural
    from rl4lms.human_eval.plan import cost_of

    rated = [item for item in plan.items if item.purpose == "rate"]
    prompts = len({item.prompt_id for item in rated})
    systems = sorted({output.system for output in found.outputs})
    cost = cost_of(plan, seconds, pay)
    print(f"form      {form.name} ({form.kind}): {form.title}")
    people = plural(plan.raters, "rater")
    print(f"systems   {', '.join(systems)}")
    print(f"items     {len(rated)} about {plural(prompts, 'prompt')}, each rated by {plan.per_item} of {people}")
    for (one, other), same in sorted(plan.identical.items()):
        print(f"          {one} and {other} wrote the same for {plural(len(same), 'prompt')}; these are not shown")
    extra = {
        purpose: sum(plan.items[given.item].purpose == purpose for given in plan.assignments)
        for purpose in ("practice", "check", "repeat")
    }
    beside = ", ".join(f"{count} of {purpose}" for purpose, count in extra.items() if count)
    print(f"answers   {cost.answers}{f' ({beside})' if beside else ''}")
    paid = f", {cost.pay:.2f} of pay" if pay else ""
    longest = f"up to {cost.longest_minutes:.0f} minutes for one rater ({seconds:g} s an answer)"
    print(f"cost      {cost.hours:.1f} hours{paid}; {longest}")


def invite(
    study: StudyPlace,
    spares: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    address: Address = _LOCAL,
) -> None:
    """Make links for further people, who take over what others left."""
    from rl4lms.human_eval.creation import invite_spares
    from rl4lms.human_eval.folder import INVITES, database_of, link, write_invites

    made = invite_spares(database_of(study), spares)
    rows = [(number, "spare", link(address, secret)) for number, secret in made.items()]
    if Path(study).is_dir():
        write_invites(Path(study) / INVITES, rows)
    for number, _, address_of in rows:
        print(f"{number}  {address_of}")


def withdraw(
    study: StudyPlace,
    rater: Annotated[int, typer.Argument(min=1, help="Number of the rater.")],
) -> None:
    """Delete everything that a rater answered. Their items are open for spares; this cannot be undone."""
    from rl4lms.human_eval.folder import database_of
    from rl4lms.human_eval.store import Study

    opened = Study(database_of(study))
    opened.rater(rater)
    opened.withdraw(rater)
    missing, nobodys = opened.open_ratings()
    print(f"rater {rater} is withdrawn; {missing} ratings are missing, {nobodys} of them have no rater")
    opened.close()


def password(study: StudyPlace) -> None:
    """Set a new password of the administrator, and end the old one's sessions."""
    from rl4lms.human_eval.creation import new_password
    from rl4lms.human_eval.folder import database_of

    print(f"password  {new_password(database_of(study))}   it is shown this once")
