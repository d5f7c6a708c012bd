"""``python -m seclude``."""

import sys

from seclude.cli.main import main

sys.exit(main())
