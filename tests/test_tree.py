"""Whoever changes a module finds its tests: at the same place in tests/, or in this table."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "aionotify"

# Parts that are tested with those that use them, by what can be seen from there.
ELSEWHERE = {
    "__init__.py": "test_exports.py",
    "__main__.py": "process/test_first_signals.py",
    "_version.py": "cli/test_cli.py",
    "errors.py": "web/test_answers.py",
    "loop_thread.py": "broker/test_sync_publisher.py",
    "instance.py": "test_instance_reload.py",
    "auth/__init__.py": "test_exports.py",
    "auth/bearer.py": "auth/test_requests.py",
    "auth/cache.py": "auth/main_host/test_authenticator.py",
    "auth/factory.py": "test_instance_reload.py",
    "auth/middleware.py": "test_app.py",
    "auth/outage_log.py": "auth/jwt/test_jwks.py",
    "auth/stats.py": "web/test_metrics.py",
    "auth/ticket_authenticator.py": "auth/test_tickets.py",
    "auth/jwt/keys.py": "auth/jwt/test_jwks.py",
    "auth/main_host/client.py": "auth/main_host/test_lies.py",
    "web/groups.py": "integration/test_memberships.py",
    "broker/history.py": "web/test_inbox.py",
    "events/away_rules.py": "broker/test_hand_on.py",
    "webhook/away_webhook.py": "integration/test_away.py",
    "broker/published.py": "broker/test_publisher.py",
    "broker/inspection.py": "integration/test_admin_page.py",
    "broker/ticket_store.py": "auth/test_tickets.py",
    "broker/connection/redis_connections.py": "broker/connection/test_endpoint.py",
    "broker/embedded/process.py": "broker/embedded/test_server.py",
    "cli/finding.py": "cli/test_check.py",
    "cli/listen.py": "integration/test_process.py",
    "cli/local_url.py": "integration/test_top.py",
    "cli/publish_http.py": "integration/test_publish_http.py",
    "cli/serve.py": "demo/test_dev.py",
    "cli/systemd.py": "deploy/test_units.py",
    "cli/top.py": "integration/test_top.py",
    "cli/unit_file.py": "cli/test_service.py",
    "web/recall.py": "integration/test_options.py",
    "web/publish_streams.py": "web/test_publish_lines.py",
    "demo/__init__.py": "demo/test_process.py",
    "demo/main_host.py": "demo/test_page.py",
    "demo/report.py": "demo/test_check.py",
    "demo/running.py": "demo/test_check.py",
    "demo/screen.py": "demo/test_process.py",
    "demo/ways.py": "demo/test_check.py",
    "demo/world.py": "demo/test_commands.py",
    "events/page.py": "broker/test_inbox.py",
    "process/server.py": "integration/test_process.py",
    "process/supervisor.py": "integration/test_process.py",
    "process/worker.py": "integration/test_process.py",
    "process/worker_channel.py": "integration/test_reload.py",
    "process/worker_process.py": "integration/test_process.py",
    "streams/catch_up.py": "streams/test_seam.py",
    "streams/hand_over.py": "test_private_parts.py",
    "streams/reasons.py": "test_documented.py",
    "streams/recipient.py": "streams/test_hub.py",
    "streams/response.py": "streams/test_stream.py",
    "streams/sockets.py": "streams/test_stream.py",
    "testing/__init__.py": "test_exports.py",
    "testing/plugin.py": "testing/test_examples.py",
    "web/admin_page.py": "integration/test_admin_page.py",
    "web/collector.py": "web/test_metrics.py",
    "web/cors.py": "integration/test_cors.py",
    "web/errors.py": "web/test_answers.py",
    "web/health.py": "integration/test_operations.py",
    "web/middlewares.py": "web/test_answers.py",
    "web/node_report.py": "integration/test_admin_page.py",
    "web/notify.py": "integration/test_notify.py",
    "web/open_stream.py": "integration/test_stream_log.py",
    "web/presence.py": "integration/test_presence.py",
    "web/revocation.py": "integration/auth/test_revocation.py",
    "web/process_metrics.py": "web/test_metrics.py",
    "web/routes.py": "test_documented.py",
    "web/services.py": "test_instance_reload.py",
    "webhook/presence_poster.py": "integration/test_presence_webhook.py",
}


def modules() -> Iterator[Path]:
    """Every module in which there is more than a docstring."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if len(ast.parse(path.read_text(encoding="utf-8")).body) > 1:
            yield path.relative_to(PACKAGE)


def own_test(module: Path) -> Path:
    """Where the tests of a module are, if it has any of its own."""
    stem = module.parent.name if module.name == "__init__.py" else module.stem
    return TESTS / module.with_name(f"test_{stem}.py")


def test_modules_are_tested_at_their_place_or_where_the_table_says() -> None:
    without = {str(module) for module in modules() if not own_test(module).exists()}
    assert without - ELSEWHERE.keys() == set(), "give it a test of its own, or a line in the table"
    gone = [module for module in ELSEWHERE if not (PACKAGE / module).exists()]
    gone += [file for file in ELSEWHERE.values() if not (TESTS / file).exists()]
    assert gone == []
