"""The command line: fit a law to a table, predict from it, score it on other rows, plan, carry a
plan out, report.

Bad input ends in one line on the error stream and exit code 2, and nothing is written. Commands
import what they need when they run, so that help and completion are quick.
"""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence

import click

import ptpp
from ptpp.cli import apply, laws, plan, report
from ptpp.cli.options import Result
from ptpp.errors import InputError, Interrupted

BAD_INPUT = 2
INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + signal.SIGPIPE
_LONGEST = 1000  # characters of an error


class _Commands(click.Group):
    """Commands in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Commands, no_args_is_help=False)
@click.version_option(ptpp.__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """PTPP-aware adaptation scaling laws from a table of losses."""


for command in (laws.fit, laws.predict, laws.score, plan.plan, apply.apply, report.report):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    # Matrices have some hundred rows: threads of BLAS would wait for each other, at twice the CPU.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    notes, logger = _Notes(), logging.getLogger("ptpp")
    level = logger.level
    logger.addHandler(notes)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            # Numbers that overflow are told, or are no answer: numpy need not say so too.
            warnings.simplefilter("ignore", RuntimeWarning)
            result = commands.main(arguments, prog_name="ptpp", standalone_mode=False)
        if isinstance(result, Result):
            print(_printable(result.render(notes.lines)), flush=True)
            return 0
        return result or 0
    except click.UsageError as error:
        where = f"; see {error.ctx.command_path} --help" if error.ctx else ""
        return _fail(_usage(error).rstrip(".") + where)
    except Interrupted as stop:
        print(f"stopped: {stop}; the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # What Python still holds for the closed pipe goes nowhere, without a complaint at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (InputError, click.ClickException, OSError) as error:
        return _fail(str(error))
    finally:
        logger.removeHandler(notes)
        logger.setLevel(level)


class _Notes(logging.Handler):
    """Collects what the package says, such as which columns it reads under other names; how far it
    is goes to the error stream at once.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.lines.append(record.getMessage())
        else:
            print(_printable(record.getMessage()), file=sys.stderr, flush=True)


def _usage(error: click.UsageError) -> str:
    """What is wrong; all that is missing at once, where click would name the first alone."""
    if not isinstance(error, click.MissingParameter) or error.ctx is None:
        return error.format_message()
    needed = [p for p in error.ctx.command.params if p.required and p.name not in error.ctx.params]
    names = [each.get_error_hint(error.ctx) for each in needed]
    return f"missing: {', '.join(names)}" if len(names) > 1 else error.format_message()


def _fail(message: str) -> int:
    line = " ".join(message.split())
    if len(line) > _LONGEST:  # a name or a field of a table may be a book
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
    print(f"error: {_printable(line)}", file=sys.stderr)
    return BAD_INPUT


def _printable(text: str) -> str:
    """`text` without what a terminal would act on or cannot show, such as a name in odd bytes."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
