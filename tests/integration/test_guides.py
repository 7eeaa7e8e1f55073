"""What the guides have somebody type starts a node, and ends a user's streams."""

import json
from pathlib import Path

from tests.docs.snippets import snippet
from tests.harness import RedisServer
from tests.harness.example import Example
from tests.integration.test_docs_shell import bash, changed


def test_a_node_starts_as_the_guides_say_and_ends_streams_with_its_key(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with Example("django", tmp_path, redis_server.port) as example:
        start = snippet("docs/guides/index.rst", "export PUBLISH_KEY")
        end = snippet("docs/guides/index.rst", "curl -X DELETE")
        url = f"http://127.0.0.1:{example.node}"
        script = f"""
            cd {example.directory}
            {changed(start, ("aionotify serve", "exec aionotify serve"))} &
            trap 'kill $!; wait $!' EXIT
            curl --silent --retry 100 --retry-connrefused --retry-delay 1 {url}/readyz >/dev/null
            {changed(end, ("http://127.0.0.1:8001", url))}
        """
        settings = {
            "AIONOTIFY_SERVER__PORT": str(example.node),
            "AIONOTIFY_REDIS__URL": redis_server.url,
        }
        assert json.loads(bash(script, **settings)) == {"nodes": 1}
