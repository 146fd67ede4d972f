"""The command line, called in this process."""

from ptpp.cli.main import main


def call(capsys, *arguments):
    """Exit code, printed text and error text of one command."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err
