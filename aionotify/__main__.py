"""``aionotify`` and ``python -m aionotify``: the first moments of the process.

Whatever takes time to import is imported in `main`, after that.
"""

import sys

from aionotify.process import frozen, standard_streams
from aionotify.process.first_signals import end_on_sigterm


def main() -> int:
    """Run one command and return its exit code; see `aionotify.cli.main`."""
    end_on_sigterm()
    standard_streams.open_closed()
    frozen.prepare()
    from aionotify import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
