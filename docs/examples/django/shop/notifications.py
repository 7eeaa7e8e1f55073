"""Who may listen, and how users are told."""

from functools import cache
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from rest_framework.authtoken.models import Token

import aionotify

SessionStore = import_module(settings.SESSION_ENGINE).SessionStore


def is_user_auth(request: HttpRequest) -> JsonResponse:
    """Answer aionotify, whose a token is: a session's key, or a token of the REST framework."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    user = user_of_session(token) or user_of_token(token)
    if user is None:
        return JsonResponse({"detail": "no such token"}, status=401)
    return JsonResponse({"user_id": user.pk})


def user_of_session(key: str) -> AbstractBaseUser | None:
    """As for a page: not after a sign-out, a change of the password, or for who is not active."""
    asked = HttpRequest()  # not ours: its session would be saved with the answer
    asked.session = SessionStore(key)
    user = get_user(asked)
    return user if user.is_authenticated else None


def user_of_token(key: str) -> AbstractBaseUser | None:
    token = Token.objects.select_related("user").filter(key=key, user__is_active=True).first()
    return None if token is None else token.user


@cache
def publisher() -> aionotify.SyncPublisher:
    return aionotify.SyncPublisher(settings.AIONOTIFY_REDIS)


def tell(user: AbstractBaseUser, event: str, data: object, id: str) -> None:
    """Publish when the transaction has committed, and not at all if it does not."""
    message: dict[str, Any] = {"recipient_id": user.pk, "event": event, "data": data, "id": id}
    # robust: if Redis is down, Django logs it; the order is shipped all the same.
    transaction.on_commit(lambda: publisher().publish(message), robust=True)
