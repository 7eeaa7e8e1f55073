"""``python -m aionotify``."""

import sys

from aionotify.cli import main

sys.exit(main())
