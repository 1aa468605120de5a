"""``python -m genfast.cli``."""

import sys

from genfast.cli import main

sys.exit(main())
