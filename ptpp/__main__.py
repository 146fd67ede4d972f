"""`python -m ptpp`: fit, predict and score laws on the command line."""

import sys

from ptpp.cli.main import main

sys.exit(main())
