"""Events of a transaction, published when it has committed."""

import logging
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

import aionotify

log = logging.getLogger(__name__)
publisher = aionotify.SyncPublisher("redis://127.0.0.1:6379/0")


def tell(session: Session, message: dict[str, Any]) -> None:
    """Publish a message when `session` has committed, and not at all if it does not."""
    if session.in_nested_transaction():
        raise RuntimeError("tell() belongs outside of savepoints")
    session.info.setdefault("messages", []).append(message)


@event.listens_for(Session, "after_commit")
def publish(session: Session) -> None:
    if session.in_nested_transaction():  # a savepoint, which is not the end
        return
    try:
        for result in publisher.publish_many(session.info.pop("messages", [])):
            if isinstance(result, aionotify.AionotifyError):
                raise result
    except aionotify.AionotifyError:  # the order is stored all the same
        log.exception("users were not told")


@event.listens_for(Session, "after_rollback")
def forget(session: Session) -> None:
    if not session.in_nested_transaction():
        session.info.pop("messages", None)
