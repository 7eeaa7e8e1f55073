"""The guides' examples in languages that not every machine with the tests has.

scripts/check-guides runs this, and scripts/test does not.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.browser.shop import Shop
from tests.harness import RedisServer


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
    shutil.copytree(LARAVEL, example.directory, dirs_exist_ok=True)
    folders = ("bootstrap/cache", "database", "storage/logs", "storage/framework/cache")
    for folder in (*folders, "storage/framework/sessions", "storage/framework/views"):
        (example.directory / folder).mkdir(parents=True)
    assert example.run(php, "set_up.php") == "0 0"
    address = f"127.0.0.1:{example.port}"
    example.start(php, "-S", address, "-t", "public", "public/index.php", port=example.port)
    example.start(php, "artisan", "queue:work", "--sleep", "0.1")
    example.start_nginx()
    tells(shop, "notifications", user=1)


LARAVEL = Path(__file__).with_name("laravel8")


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
