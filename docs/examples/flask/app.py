"""A shop with Flask's session cookie and SQLAlchemy.

SECRET_KEY=$(openssl rand -hex 32) flask run --port 8000
"""

import os
from typing import Any

from flask import Flask, redirect, render_template, request, session
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from itsdangerous import BadSignature
from notifications import tell
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

PASSWORDS = {"alice": "wonderland"}  # yours are hashed, and in the database

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
engine = create_engine("sqlite:///orders.db")


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    buyer: Mapped[str]
    shipped: Mapped[bool] = mapped_column(default=False)


Base.metadata.create_all(engine)


@app.get("/api/v1/is_user_auth/")
def is_user_auth() -> ResponseReturnValue:
    """Answer aionotify, whose session a cookie's value is."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    user = user_of_session(token)
    if user is None:
        return {"detail": "no such token"}, 401
    return {"user_id": user}


def user_of_session(value: str) -> str | None:
    interface = app.session_interface
    assert isinstance(interface, SecureCookieSessionInterface)
    serializer = interface.get_signing_serializer(app)
    assert serializer is not None, "SECRET_KEY is not set"
    lifetime = int(app.permanent_session_lifetime.total_seconds())
    try:
        content: dict[str, Any] = serializer.loads(value, max_age=lifetime)
    except BadSignature:
        return None
    user = content.get("user")  # with Flask-Login "_user_id"
    return user if user in PASSWORDS else None  # who was removed has the cookie still


@app.get("/")
def page() -> str:
    return render_template("page.html", user=session.get("user"))


@app.post("/login")
def login() -> ResponseReturnValue:
    user = request.form["user"]
    if PASSWORDS.get(user) != request.form["password"]:
        return "wrong name or password", 401
    session["user"] = user
    return redirect("/")


@app.post("/logout")
def logout() -> ResponseReturnValue:
    session.clear()
    return redirect("/")


@app.post("/orders")
def order() -> ResponseReturnValue:
    """Take an order and ship it at once."""
    with Session(engine) as database, database.begin():
        order = Order(buyer=session["user"], shipped=True)
        database.add(order)
        database.flush()
        tell(
            database,
            {
                "recipient_id": order.buyer,
                "event": "order.shipped",
                "data": {"order": order.id},
                "id": f"order-{order.id}-shipped",
            },
        )
    return "", 204
