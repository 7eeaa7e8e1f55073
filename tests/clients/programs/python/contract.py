"""What an application has, for the programs beside this file.

They are run as ``python PROGRAM URL TOKEN_FILE LAST_ID``, and say what they hear in lines of JSON.
"""

import json
import sys
from pathlib import Path

url, token_file, last_id = sys.argv[1:]


def get_token() -> str:
    """Return a token that is valid now."""
    return Path(token_file).read_text("utf-8").strip()


def show(type: str, data: str) -> None:
    """Show an event."""
    print(json.dumps({"type": type, "data": data}), flush=True)


def sign_in() -> None:
    """The token is refused for good."""
    print(json.dumps({"refused": True}), flush=True)
