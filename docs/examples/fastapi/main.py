"""A shop whose page has a bearer token, made as in FastAPI's tutorial.

SECRET=$(openssl rand -hex 32) uvicorn main:app
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import aionotify

REDIS_URL = "redis://127.0.0.1:6379/0"
SECRET = os.environ["SECRET"]  # at least 32 bytes
TOKEN_TTL = 900  # seconds
PASSWORDS = {"alice": "wonderland"}  # yours are hashed, and in the database

engine = create_async_engine("sqlite+aiosqlite:///orders.db")
Session = async_sessionmaker(engine)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    buyer: Mapped[str]
    shipped: Mapped[bool] = mapped_column(default=False)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with aionotify.Publisher(REDIS_URL) as publisher:
        app.state.publisher = publisher
        yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
bearer = OAuth2PasswordBearer(tokenUrl="token")


def get_publisher(request: Request) -> aionotify.Publisher:
    publisher: aionotify.Publisher = request.app.state.publisher
    return publisher


def get_claims(token: Annotated[str, Depends(bearer)]) -> dict[str, Any]:
    try:
        return jwt.decode(token, SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise HTTPException(401, "no such token") from None


Claims = Annotated[dict[str, Any], Depends(get_claims)]


@app.post("/token")
async def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str]:
    if PASSWORDS.get(form.username) != form.password:
        raise HTTPException(401, "wrong name or password")
    claims = {"sub": form.username, "exp": time.time() + TOKEN_TTL}
    return {"access_token": jwt.encode(claims, SECRET, "HS256"), "token_type": "bearer"}


@app.get("/api/v1/is_user_auth/")
async def is_user_auth(claims: Claims) -> dict[str, Any]:
    """Answer aionotify, whose a token is and for how many seconds."""
    return {"user_id": claims["sub"], "expires_in": claims["exp"] - time.time()}


@app.post("/orders", status_code=201)
async def order(claims: Claims) -> dict[str, int]:
    async with Session.begin() as session:
        order = Order(buyer=claims["sub"])
        session.add(order)
        await session.flush()
        return {"order": order.id}


@app.post("/orders/{number}/ship", status_code=204)
async def ship(
    number: int, claims: Claims, publisher: Annotated[aionotify.Publisher, Depends(get_publisher)]
) -> None:
    async with Session.begin() as session:
        order = await session.get(Order, number)
        if order is None:
            raise HTTPException(404)
        order.shipped = True
        event = {
            "recipient_id": order.buyer,
            "event": "order.shipped",
            "data": {"order": number},
            "id": f"order-{number}-shipped",
        }
    # The transaction has committed; if it has not, we do not get here.
    await publisher.publish(event)


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))
