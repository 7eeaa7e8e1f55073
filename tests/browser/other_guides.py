"""The guides' examples in languages that not every machine with the tests has.

scripts/check-guides runs this, and scripts/test does not.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.shop import Shop
from tests.harness import RedisServer
from tests.harness.example import ROOT, Example


def test_go_tells_the_user_of_a_session(open_shop: Callable[[str], Shop]) -> None:
    shop = open_shop("go")
    go = program("go", "golang-go")
    shop.example.run(go, "build", "-o", "shop", ".")
    shop.example.start(shop.example.directory / "shop", port=shop.example.port)
    shop.example.start_nginx()
    tells(shop, "session")


def test_rails_tells_the_user_of_a_session_what_a_transaction_has_committed(
    open_shop: Callable[[str], Shop], redis_server: RedisServer
) -> None:
    """And nothing of one that was rolled back."""
    shop = open_shop("rails")
    environ = {"RAILS_ENV": "production", "DISABLE_DATABASE_ENVIRONMENT_CHECK": "1"}
    shop.example.run(program("rake", "rake"), "db:schema:load", "db:seed", **environ)
    shop.example.run(program("ruby", "ruby"), "-e", ROLLED_BACK, **environ)
    assert redis_server.cli("KEYS", "*:inbox") == []
    bind = f"tcp://127.0.0.1:{shop.example.port}"
    words = ("env", "RAILS_ENV=production", program("puma", "puma"), "-b", bind)
    shop.example.start(*words, port=shop.example.port)
    shop.example.start_nginx()
    tells(shop, "session_token", user=1)


ROLLED_BACK = """
require "./config/environment"
ActiveJob::Base.queue_adapter = :inline
Order.transaction do
  Order.create!(buyer: User.first, shipped: true)
  raise ActiveRecord::Rollback
end
"""


def test_laravel_tells_the_user_of_a_session_what_a_transaction_has_committed(
    open_shop: Callable[[str], Shop],
) -> None:
    """And nothing of one that was rolled back."""
    shop = open_shop("laravel")
    example = shop.example
    php = program("php", "php-cli")
    prepare_laravel(example)
    assert example.run(php, "set_up.php") == "0 0"
    address = f"127.0.0.1:{example.port}"
    example.start(php, "-S", address, "-t", "public", "public/index.php", port=example.port)
    example.start(php, "artisan", "queue:work", "--sleep", "0.1")
    example.start_nginx()
    tells(shop, "notifications", user=1)


LARAVEL = Path(__file__).with_name("laravel8")


EVENT = '{"recipient_id": "42", "data": "\u00e9"}'
CONNECTED = {
    "PHP, phpredis": "$redis = new Redis(); $redis->connect('127.0.0.1', 6379);",
    "PHP, Laravel": """
        use Illuminate\\Support\\Facades\\Redis;
        $app = require 'bootstrap/laravel8.php';
        $app->make(Illuminate\\Contracts\\Console\\Kernel::class)->bootstrap();
        $app->register(Illuminate\\Redis\\RedisServiceProvider::class);
        config(['database.redis' => [
            'client' => 'phpredis', 'default' => ['host' => '127.0.0.1', 'port' => 6379],
        ]]);
    """,
    "Ruby, redis-rb": 'require "redis"; redis = Redis.new(port: 6379)',
}


@pytest.mark.parametrize("client", CONNECTED)
def test_a_redis_client_adds_an_event_with_the_line_of_producers(
    own_redis: RedisServer, tmp_path: Path, client: str
) -> None:
    page = (ROOT / "docs/producers.rst").read_text("utf-8")
    [line] = re.findall(rf"(?m)^{client} +``(.*)``$", page)
    script = CONNECTED[client].replace("6379", str(own_redis.port))
    with Example("laravel", tmp_path, own_redis.port) as example:
        if client.startswith("PHP"):
            prepare_laravel(example)
            example.run(program("php", "php-cli"), "-r", f"{script} $event = '{EVENT}'; {line}")
        else:
            example.run(program("ruby", "ruby"), "-e", f"{script}\nevent = '{EVENT}'\n{line}")
    [[_, fields]] = own_redis.cli("XRANGE", "aionotify:publish", "-", "+")
    assert dict(pairs(fields)) == {"event": EVENT}


def pairs(fields: object) -> list[tuple[str, str]]:
    """The fields of an entry, however redis-py has them."""
    if isinstance(fields, dict):
        return list(fields.items())
    assert isinstance(fields, list)
    return list(zip(fields[::2], fields[1::2], strict=True))


def prepare_laravel(example: Example) -> None:
    """Add what a project has beside what the example shows."""
    shutil.copytree(LARAVEL, example.directory, dirs_exist_ok=True)
    folders = ("bootstrap/cache", "database", "storage/logs", "storage/framework/cache")
    for folder in (*folders, "storage/framework/sessions", "storage/framework/views"):
        (example.directory / folder).mkdir(parents=True)


def tells(shop: Shop, cookie: str, user: object = "alice") -> None:
    """Sign in, have something happen, see it on the page, and sign out."""
    shop.sign_in(f"http://127.0.0.1:{shop.example.nginx}/", "alice", "wonderland")
    shop.click("#ship")
    assert shop.told(1) == ["Order 1 is on its way"]
    token = shop.cookies()[cookie]
    assert token["httponly"]
    assert token["samesite"] == "Lax"
    assert [shop.whose(each) for each in (token.value, "nonsense")] == [user, None]
    shop.sign_out()
    assert shop.whose(token.value) is None


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is missing; on Debian: apt-get install {package}"
    return found
