"""The configuration of an experiment: its keys as pydantic models, its checks, its messages.

`read_config` turns Snakemake's `config` into a checked `Config`. `python -m ptpp.config` prints the
JSON schema, with what every key means.
"""

from ptpp.config.checks import check_files
from ptpp.config.command_line import read_command_line
from ptpp.config.reading import read_config
from ptpp.config.sections import Config

__all__ = ["Config", "check_files", "read_command_line", "read_config"]
