"""The command line: a table of verbs whose modules are imported when they are used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from gan.errors import DiskError, GanError, NumericError, Stopped, nearest
from gan.version import __version__

VERBS = {
    "run": ("gan.cli.run:run", "Train a plugin's recipe and end with artefacts."),
    "resume": ("gan.cli.run:resume", "Go on with a run that was stopped."),
    "generate": ("gan.cli.generate:generate", "Make samples with a trained run."),
    "translate": ("gan.cli.translate:translate", "Translate files with a trained run."),
    "page": ("gan.cli.page:page", "Write a page to see, hear and read what a run made."),
    "evaluate": ("gan.cli.evaluate:evaluate", "Measure a run or a folder, with receipts."),
    "compare": ("gan.cli.evaluate:compare", "Compare runs whose receipts are alike."),
    "data": ("gan.cli.data:data", "Check, list and fetch data."),
    "plugins": ("gan.cli.plugins:plugins", "List, find, install, make and check plugins."),
}


class _Verbs(click.Group):
    """Knows every verb's name and help without importing it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            close = nearest(name, VERBS)
            hint = f"; did you mean '{close}'?" if close else f" (there are {', '.join(VERBS)})"
            ctx.fail(f"no command '{name}'{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in VERBS.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--no-plugin", "blocked", multiple=True, metavar="NAME", help="Switch a plugin off; may be repeated.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, prog_name="gan")
@click.pass_context
def group(ctx: click.Context, blocked: tuple[str, ...], debug: bool) -> None:
    """Train, judge and use adversarial generators of any kind of data.

    \b
    gan run --plugin music        train on the plugin's own data and end with music
    gan generate RUN --count 4    make more
    gan plugins                   what is installed
    """
    ctx.obj = {"blocked": blocked, "debug": debug}


def installed(ctx: click.Context) -> Any:
    """The plugins of this process, without those that ``--no-plugin`` names."""
    from gan.plugins.manager import Plugins

    return Plugins.installed(block=ctx.obj["blocked"] if ctx.obj else ())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0, or the exit code of the error (see `gan.errors`)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(_run(lambda: group(args=arguments, prog_name="gan", standalone_mode=False), "--debug" in arguments))


def _run(command: Callable[[], Any], debug: bool) -> int:
    try:
        code = command()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        _say("stopped")
        return 130
    except click.ClickException as error:
        hint = ""
        context = getattr(error, "ctx", None)
        if context is not None:
            hint = f"\nTry '{context.command_path} --help'."
        _say(f"error: {error.format_message()}{hint}")
        return error.exit_code
    except Stopped as stop:
        _say(str(stop))
        return stop.exit_code
    except GanError as error:
        return _tell(error, debug)
    except OSError as error:
        if error.errno is None or debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _tell(DiskError(f"{where}{os.strerror(error.errno)}"), debug)
    except MemoryError:
        return _tell(NumericError("memory ran out; lower training.batch"), debug)
    except RuntimeError as error:
        if debug or ("out of memory" not in str(error) and "not enough memory" not in str(error)):
            raise
        return _tell(NumericError("memory ran out; lower training.batch"), debug)
    return code if isinstance(code, int) else 0


def _tell(error: GanError, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    else:
        _say(f"error: {error}")
    return error.exit_code


def _say(text: str) -> None:
    click.echo(text, err=True)
