"""`python -m ptpp`: the command `ptpp`."""

import sys

from ptpp.cli.main import main

sys.exit(main())
