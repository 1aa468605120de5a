"""``python -m genfast``: the command, where its script is not on the PATH."""

import sys

from genfast.cli import main

sys.exit(main())
