"""The command line `gan`: a table of commands, whose modules are imported when they are used."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan.errors import DiskError, GanError, NumericError, Stopped, nearest
from gan.version import __version__

if TYPE_CHECKING:
    from gan.control.controlled import ControlledModel

VERBS = {
    "run": ("gan.cli.run:run", "Train a recipe of a plugin and write samples."),
    "resume": ("gan.cli.run:resume", "Resume a run that was stopped."),
    "generate": ("gan.cli.generate:generate", "Generate samples with a trained run."),
    "edit": ("gan.cli.edit:edit", "Find directions in a run's latent space, and edit samples along them."),
    "project": ("gan.cli.project:project", "Put a file of your own into a run's latent space."),
    "translate": ("gan.cli.translate:translate", "Translate files with a trained run."),
    "runs": ("gan.cli.runs:runs", "List the runs of a folder, and remove what nobody needs."),
    "page": ("gan.cli.page:page", "Write an HTML page that shows the samples of a run."),
    "diagnose": ("gan.cli.diagnose:diagnose", "Tell what happened to a training and what to change."),
    "evaluate": ("gan.cli.evaluate:evaluate", "Compute metrics of a run or a folder, with receipts."),
    "compare": ("gan.cli.evaluate:compare", "Compare runs with matching receipts."),
    "verify": ("gan.cli.verify:verify", "Verify a run's bytes, or where files come from."),
    "zoo": ("gan.cli.zoo:zoo", "List small trained models that come with plugins, and pack your own."),
    "demo": ("gan.cli.zoo:demo", "Make samples with every model of the zoo: something to see in a minute."),
    "data": ("gan.cli.data:data", "Check, list, download and verify datasets."),
    "plugins": ("gan.cli.plugins:plugins", "List, search, install, create and check plugins."),
}


class _Verbs(click.Group):
    """Lists the names and the help of all commands without importing them."""

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
        found = super().resolve_command(ctx, args)
        _refuse_empty(ctx, found[1], found[2])
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in VERBS.items()])


def _refuse_empty(ctx: click.Context, command: click.Command | None, args: list[str]) -> None:
    """Refuse ``--data ""`` and ``--data=``: an unset variable of a script would select the default."""
    flags = {flag for parameter in getattr(command, "params", ()) for flag in parameter.opts}
    for before, text in zip(["", *args], args, strict=False):
        name, equals, value = text.partition("=")
        if text == "" and (before in flags or not before.startswith("-")):
            ctx.fail(f"{before} is given an empty value" if before in flags else "an argument is empty")
        if name in flags and equals and not value:
            ctx.fail(f"{name} is given an empty value")


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--no-plugin", "blocked", multiple=True, metavar="NAME", help="Switch a plugin off; repeatable.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option(
    "--allow-download", is_flag=True, help="Let a recipe download the pretrained model that it names (at one commit)."
)
@click.version_option(__version__, prog_name="gan")
@click.pass_context
def group(ctx: click.Context, blocked: tuple[str, ...], debug: bool, allow_download: bool) -> None:
    """Train, evaluate and use generative adversarial networks for any kind of data.

    \b
    gan run --plugin music        train on the plugin's default dataset and write samples
    gan generate RUN --count 4    generate more samples
    gan plugins                   list installed plugins
    """
    ctx.obj = {"blocked": blocked, "debug": debug}
    if allow_download:
        os.environ["GAN_ALLOW_DOWNLOAD"] = "1"  # for the processes that read data as well; see gan.weights


def installed(ctx: click.Context) -> Any:
    """The installed plugins, without those switched off by ``--no-plugin``."""
    from gan.plugins.manager import Plugins

    return Plugins.installed(block=ctx.obj["blocked"] if ctx.obj else ())


@contextmanager
def importing() -> Iterator[None]:
    """Import and load without the garbage collector, and keep what is there then out of its later passes.

    Modules live as long as the process. Passes over their million objects would take a tenth of the start of a command,
    and as long again at each full collection.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def loaded(
    ctx: click.Context,
    run: Path,
    device: str,
    checkpoint: str = "newest",
    provenance: Mapping[str, Any] | None = None,
) -> ControlledModel:
    """The model of a run folder (`gan.load`)."""
    with importing():
        plugins = installed(ctx)
        from gan.api import load

        model = load(run, device=device, plugins=plugins, checkpoint=checkpoint, provenance=provenance)
    if model.note:
        from gan.cli.terminal import echo

        echo(f"note: {model.note}", err=True)
    return model


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with 0 or the exit code of the error (see `gan.errors`)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "_GAN_COMPLETE" in os.environ:
        from gan.cli.bash import register_bash

        register_bash()
    if _is_follower():
        import signal

        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until a training has a handler of its own
    anywhere = ("--debug", "--allow-download")  # also behind the command
    arguments = [text for text in anywhere if text in arguments] + [text for text in arguments if text not in anywhere]
    sys.exit(_exit_code(lambda: group(args=arguments, prog_name="gan", standalone_mode=False), "--debug" in arguments))


def _exit_code(command: Callable[[], Any], debug: bool) -> int:
    try:
        code = command()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        _print_error("stopped")
        return 130
    except click.ClickException as error:
        hint = ""
        context = getattr(error, "ctx", None)
        if context is not None:
            hint = f"\nTry '{context.command_path} --help'."
        _print_error(f"error: {error.format_message()}{hint}")
        return error.exit_code
    except Stopped as stop:
        _print_error(str(stop))
        return stop.exit_code
    except GanError as error:
        return _report(error, debug)
    except OSError as error:
        if error.errno is None or debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _report(DiskError(f"{where}{os.strerror(error.errno)}"), debug)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY):
            return _report(NumericError("memory ran out; lower training.batch"), debug)
        message = f"error: this is a mistake of {_origin(error)}"
        if not _told_launcher(message):
            _print_error(message)
        return 1
    return code if isinstance(code, int) else 0


_NO_MEMORY = ("out of memory", "not enough memory", "allocate memory")


def _origin(error: Exception) -> str:
    """Where an unexpected exception was raised and what it says, for a message without a traceback."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    lines = str(error).splitlines() or [""]
    place = f"{ours[-1].filename}, line {ours[-1].lineno}" if ours else "unknown place"
    return (
        f"the program, in {place}: {type(error).__name__}: {lines[0][:300]}\n"
        "repeat the command as `gan --debug …` for the traceback, and please report it"
    )


def _report(error: GanError, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    elif not _told_launcher(f"error: {error}"):
        _print_error(f"error: {error}")
    return error.exit_code


LAUNCHER_SECONDS = 15.0
"""How long a process other than the first waits after an error for torchrun to end it."""


def _is_follower() -> bool:
    """Whether torchrun started this process and others before it.

    Mistakes of a recipe are found by all processes. The others leave them to the first one: torchrun ends them when
    that has failed, and lists only those as failed that do not end with 0 then.
    """
    return bool(os.environ.get("TORCHELASTIC_ERROR_FILE")) and os.environ.get("RANK", "0") != "0"


def _told_launcher(message: str) -> bool:
    """Write an error to the file that torchrun reads, so that it ends with the message and not with its own traceback.

    Returns whether this is not the first process, which then says nothing.
    """
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return False
    import json
    import time

    if _is_follower():
        time.sleep(LAUNCHER_SECONDS)
    about = {"py_callstack": message, "timestamp": str(int(time.time()))}
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"message": {"message": message, "extraInfo": about}}, file)
    except OSError:
        return False
    return _is_follower()


def _print_error(text: str) -> None:
    from gan.cli.terminal import echo

    echo(text, err=True)
