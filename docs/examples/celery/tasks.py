"""A task that takes a while, and tells who has asked for it when it is done.

celery -A tasks worker
"""

from celery import Celery, Task

import aionotify

app = Celery("reports", broker="redis://127.0.0.1:6379/1")
app.conf.task_acks_late = True  # a task whose worker was killed runs again

# Made here, before the pool forks: each process connects by itself at its first event.
publisher = aionotify.SyncPublisher("redis://127.0.0.1:6379/0")


@app.task
def report(user_id: str, month: str) -> None:
    pages = write_report(user_id, month)
    tell.delay(
        {
            "recipient_id": user_id,
            "event": "report.ready",
            "data": {"month": month, "pages": pages},
            "id": f"report-{user_id}-{month}",
        }
    )


@app.task(
    bind=True,
    autoretry_for=(aionotify.BrokerUnavailable, aionotify.PartlyPublished),
    retry_backoff=True,
    retry_backoff_max=60,  # seconds
    max_retries=None,
)
def tell(self: Task, event: dict[str, object]) -> None:
    """Publish an event, however long the nodes' Redis is away."""
    publisher.publish(event)


def write_report(user_id: str, month: str) -> int:
    """Yours takes minutes."""
    return len(user_id) + len(month)
