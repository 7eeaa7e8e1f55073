"""Plays the scenes with the clients that this machine can run: see scripts/clients."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.clients import page, scenes
from tests.clients.catalogue import Client, present, version
from tests.clients.world import World


async def play(
    clients: Sequence[Client], wanted: Sequence[scenes.Scene], directory: Path
) -> dict[str, scenes.Verdicts]:
    """Return what each client made of each scene: by scene, then by client."""
    found: dict[str, scenes.Verdicts] = {}
    async with World(directory) as world:
        for scene in wanted:
            start = time.monotonic()
            found |= await scene(world, clients)
            sys.stderr.write(f"{scene.__name__}: {time.monotonic() - start:.0f} s\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/clients", description=__doc__)
    parser.add_argument("--only", metavar="WORD", help="clients with this in their name")
    parser.add_argument("--scene", metavar="NAME", help="one scene")
    arguments = parser.parse_args()
    clients = [each for each in present() if (arguments.only or "") in each.name]
    wanted = [each for each in scenes.ALL if arguments.scene in (None, each.__name__)]
    with TemporaryDirectory(prefix="clients-") as directory:
        found = asyncio.run(play(clients, wanted, Path(directory)))
    for column, verdicts in found.items():
        for client, verdict in verdicts.items():
            sys.stdout.write(f"{column:12} {client:32} {verdict.word:12} {verdict.why}\n")
    rows = {
        client.name: {"version": version(client), "token": client.token}
        | {column: verdicts[client.name].word for column, verdicts in found.items()}
        for client in clients
    }
    page.PAGE.write_text(page.write(page.PAGE.read_text("utf-8"), rows), "utf-8")


if __name__ == "__main__":
    main()
