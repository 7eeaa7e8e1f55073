"""The guides' examples as a person uses them, with the frameworks that they are for.

Each test signs in with the page of an example, which opens a stream, does in the application what
publishes, and reads on the page what arrives.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests.browser.node import node_program
from tests.browser.shop import Shop
from tests.harness import RedisServer
from tests.harness.example import EXAMPLES

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.executable).parent


def test_django_tells_the_user_of_a_session_what_a_transaction_has_committed(
    open_shop: Callable[[str], Shop], redis_server: RedisServer
) -> None:
    """And nothing of one that was rolled back. A token of the REST framework is known as well."""
    shop = open_shop("django")
    example = shop.example
    user, token = json.loads(example.python(SET_UP_DJANGO, DJANGO_SETTINGS_MODULE="shop.settings"))
    assert redis_server.cli("KEYS", "*:inbox") == []
    example.start(
        sys.executable, "manage.py", "runserver", "--noreload", str(example.port), port=example.port
    )
    example.start_nginx()
    shop.sign_in(f"http://127.0.0.1:{example.nginx}/", "alice", "wonderland")

    shop.click("#ship")
    assert shop.told(1) == ["Order 1 is on its way"]

    session = shop.cookies()["sessionid"].value
    assert [shop.whose(each) for each in (session, token, "nonsense")] == [user, user, None]
    shop.sign_out()
    assert shop.whose(session) is None


SET_UP_DJANGO = """
import json
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction
from rest_framework.authtoken.models import Token
from shop.notifications import tell

call_command("migrate", run_syncdb=True, verbosity=0)
alice = User.objects.create_user("alice", password="wonderland")
try:
    with transaction.atomic():
        tell(alice, "order.shipped", {"order": 0}, id="rolled-back")
        raise LookupError
except LookupError:
    pass
print(json.dumps([alice.pk, Token.objects.create(user=alice).key]))
"""


def test_flask_tells_the_user_of_a_session_what_a_transaction_has_committed(
    open_shop: Callable[[str], Shop], redis_server: RedisServer
) -> None:
    """And nothing of one that was rolled back, or of a savepoint before all is committed."""
    shop = open_shop("flask")
    example = shop.example
    stored = example.python(TRANSACTIONS)
    assert stored.split() == ["0", "0", "1"]
    example.start(PYTHON / "flask", "run", "--port", str(example.port), port=example.port)
    example.start_nginx()
    shop.sign_in(f"http://127.0.0.1:{example.nginx}/", "alice", "wonderland")

    shop.click("#ship")
    assert shop.told(1) == ["Order 1 is on its way"]

    session = shop.cookies()["session"]
    assert session["httponly"]
    assert session["samesite"] == "Lax"
    tokens = (session.value, session.value[:-1], "nonsense")
    assert [shop.whose(each) for each in tokens] == ["alice", None, None]


TRANSACTIONS = """
import redis
from app import Order, engine
from notifications import publisher, tell
from sqlalchemy.orm import scoped_session, sessionmaker

server = redis.Redis.from_url("redis://127.0.0.1:6379/0")
print_stored = lambda: print(server.llen("aionotify:{bob}:inbox"))
session = scoped_session(sessionmaker(engine))()
try:
    with session.begin():
        session.add(Order(id=100, buyer="bob"))
        tell(session, {"recipient_id": "bob", "data": "rolled back"})
        raise LookupError
except LookupError:
    print_stored()
with session.begin():
    session.add(Order(id=101, buyer="bob"))
    tell(session, {"recipient_id": "bob", "data": "committed"})
    with session.begin_nested():
        session.add(Order(id=102, buyer="bob"))
    try:
        with session.begin_nested():
            session.add(Order(id=103, buyer="bob"))
            session.flush()
            raise LookupError
    except LookupError:
        print_stored()
print_stored()
with session.begin():
    for order in session.query(Order):
        session.delete(order)
session.close()
server.close()
publisher.close()
"""


def test_fastapi_tells_the_bearer_of_a_token_from_another_origin(
    open_shop: Callable[[str], Shop],
) -> None:
    shop = open_shop("fastapi")
    port = str(shop.example.port)
    shop.example.start(PYTHON / "uvicorn", "main:app", "--port", port, port=shop.example.port)
    shop.sign_in(f"http://127.0.0.1:{port}/", "alice", "wonderland")

    shop.click("#ship")
    assert shop.told(1) == ["Order 1 is on its way"]
    assert shop.whose("nonsense") is None


def test_express_tells_the_user_of_a_session(open_shop: Callable[..., Shop]) -> None:
    """With POST /publish, and with XADD."""
    packages = ROOT / "build/express/node_modules"
    assert packages.exists(), "express is missing: run scripts/install-npm-packages"
    shop = open_shop("express", publish__stream=True)
    example = shop.example
    (example.directory / "node_modules").symlink_to(packages)
    example.start(node_program(), "server.js", port=example.port)
    example.start_nginx()
    shop.sign_in(f"http://127.0.0.1:{example.nginx}/", "alice", "wonderland")

    shop.click("#ship")
    assert shop.told(1) == ["Order 1 is on its way"]

    # As it could take the place of the function of that name in server.js.
    script = "import { close, publish } from './xadd.js'; await publish({EVENT}); close();"
    event = {"recipient_id": "alice", "event": "order.shipped", "data": {"order": "2"}}
    script = script.replace("{EVENT}", json.dumps(event))
    example.run(str(node_program()), "--input-type=module", "--eval", script)
    assert shop.told(2) == ["Order 1 is on its way", "Order 2 is on its way"]

    cookie = shop.cookies()["notifications"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert [shop.whose(each) for each in (cookie.value, "nonsense")] == ["alice", None]
    shop.sign_out()
    assert shop.whose(cookie.value) is None


def test_the_packages_of_the_express_example_are_installed_as_it_locks_them() -> None:
    for name in ("package.json", "package-lock.json"):
        installed, said = ROOT / "build/express" / name, EXAMPLES / "express" / name
        assert installed.read_text() == said.read_text(), "run scripts/install-npm-packages"
