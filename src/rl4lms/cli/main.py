"""The command `rl4lms`: its verbs, and how errors reach people."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import rl4lms
from rl4lms.cli import (
    check,
    compare,
    convert,
    demo,
    doctor,
    evaluate,
    generate,
    grue,
    human,
    human_report,
    human_serve,
    init,
    lm_eval,
    ls,
    metrics,
    report,
    reward,
    show,
    submissions,
    train,
)
from rl4lms.errors import Rl4lmsError, close_names, cut


class _Group(TyperGroup):
    """Turns errors meant for users into one plain message and exit code 2; anything else is a bug and keep its
    traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _UsageError as error:  # told by typer, in its frame
            error.message = _plain(error)
            raise
        except Rl4lmsError as error:
            print(f"error: {error}", file=sys.stderr)
        except BrokenPipeError:  # `rl4lms ls | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            if error.filename is None or error.errno not in _FILE_ERRORS:
                raise
            name = cut(str(error.filename)) if error.errno == errno.ENAMETOOLONG else error.filename
            print(f"error: {name}: {error.strerror}", file=sys.stderr)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(130) from None
        raise typer.Exit(2)


# What `BadParameter` and the error of an unknown option derive from, in typer and in the click of older ones.
_UsageError: Any = typer.BadParameter.__base__


def _plain(error: Any) -> str:
    """Return the message of a usage error without words of pydantic's, and for an unknown option that a recipe has as a
    setting, with how settings are written.
    """
    option, command = getattr(error, "option_name", ""), getattr(error.ctx, "command", None)
    takes_settings = any(param.name == "overrides" for param in getattr(command, "params", ()))
    if not hasattr(error, "possibilities"):
        return str(error.message).removeprefix("Value error, ")
    unknown = f"No such option: {option}"  # versions of click write it differently
    if not (takes_settings and option.startswith("--")):
        return unknown
    from rl4lms.config.reference import setting_names

    name, known = option.lstrip("-").replace("-", "_"), sorted(setting_names())
    last = {setting: setting.rpartition(".")[2] for setting in known}
    meant = [setting for setting in known if name in (setting, last[setting])]
    meant = meant or [setting for setting in known if last[setting] in close_names(name, last.values(), cutoff=0.8)]
    if not meant:
        return f"{unknown}; settings of a recipe are written as KEY=VALUE (all: docs/config.md)"
    error.possibilities = None
    return f"{unknown}; settings of a recipe are written as {' or '.join(f'{one}=VALUE' for one in meant[:3])}"


_FILE_ERRORS = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EROFS,
}

app = typer.Typer(
    cls=_Group,
    help="Reinforcement learning for language models, with any reward.",
    epilog="First steps:  rl4lms demo  ·  rl4lms init  ·  rl4lms ls  ·  rl4lms train imdb-mini-nlpo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init", epilog=init.EPILOG)(init.init)
app.command("train", epilog=train.EPILOG)(train.train)
app.command("convert", epilog=convert.EPILOG)(convert.convert)
app.command("evaluate", epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command("compare", epilog=compare.EPILOG)(compare.compare)
app.command("report", epilog=report.EPILOG)(report.report)
app.command("generate", epilog=generate.EPILOG)(generate.generate)
rewards = typer.Typer(help="Train reward models.", no_args_is_help=True)
rewards.command("train", epilog=reward.EPILOG)(reward.train)
app.add_typer(rewards, name="reward")
metrics_app = typer.Typer(help="Score files of texts; set up what metrics need.", no_args_is_help=True)
metrics_app.command("score", epilog=metrics.SCORE_EPILOG)(metrics.score)
metrics_app.command("setup-wordnet", epilog=metrics.EPILOG)(metrics.setup_wordnet)
app.add_typer(metrics_app, name="metrics")
grue_app = typer.Typer(help="The benchmark: systems on tasks, and tables of them.", no_args_is_help=True)
grue_app.command("run", epilog=grue.RUN_EPILOG)(grue.run)
grue_app.command("table", epilog=grue.TABLE_EPILOG)(grue.table)
grue_app.command("score", epilog=submissions.SCORE_EPILOG)(submissions.score)
grue_app.command("submit", epilog=submissions.SUBMIT_EPILOG)(submissions.submit)
grue_app.command("to-lm-eval", epilog=lm_eval.TO_EPILOG)(lm_eval.to_lm_eval)
grue_app.command("from-lm-eval", epilog=lm_eval.FROM_EPILOG)(lm_eval.from_lm_eval)
grue_app.command("report", epilog=submissions.REPORT_EPILOG)(submissions.report)
grue_app.command("site", epilog=submissions.SITE_EPILOG)(submissions.site)
grue_app.command("export", epilog=submissions.EXPORT_EPILOG)(submissions.export)
grue_app.command("verify", epilog=submissions.VERIFY_EPILOG)(submissions.verify)
grue_app.command("reproduce", epilog=submissions.REPRODUCE_EPILOG)(submissions.reproduce)
app.add_typer(grue_app, name="grue")
human_app = typer.Typer(help="Studies in which people judge texts.", no_args_is_help=True)
human_app.command("create", epilog=human.CREATE_EPILOG)(human.create)
human_app.command("serve", epilog=human_serve.SERVE_EPILOG)(human_serve.serve)
human_app.command("report", epilog=human_report.REPORT_EPILOG)(human_report.report)
human_app.command("export", epilog=human_report.EXPORT_EPILOG)(human_report.export)
human_app.command("to-reward", epilog=human_report.TO_REWARD_EPILOG)(human_report.to_reward)
human_app.command("power", epilog=human_report.POWER_EPILOG)(human_report.power)
human_app.command("invite", epilog=human.INVITE_EPILOG)(human.invite)
human_app.command("withdraw", epilog=human.WITHDRAW_EPILOG)(human.withdraw)
human_app.command("password", epilog=human.PASSWORD_EPILOG)(human.password)
app.add_typer(human_app, name="human")
app.command("ls", epilog=ls.EPILOG)(ls.ls)
app.command("show", epilog=show.EPILOG)(show.show)
app.command("demo", epilog=demo.EPILOG)(demo.demo)
checks_app = typer.Typer(help="Check the data of a task.", no_args_is_help=True)
checks_app.command("task", epilog=check.EPILOG)(check.check_task)
app.add_typer(checks_app, name="check")
app.command("doctor", epilog=doctor.EPILOG)(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        print(rl4lms.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    del version


def main() -> None:
    """Entry point of the command."""
    app()
