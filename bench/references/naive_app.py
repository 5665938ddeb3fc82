"""The service as it is written in an afternoon: the front door.

A pydantic model per item, one awaited XADD per message. Arguments: port and Redis URL.
"""

import json
import sys
from typing import Any

import redis.asyncio as redis
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

STREAM = "naive:stream"


class Message(BaseModel):
    """One message as callers send it."""

    target: str
    arguments: list[Any]
    userId: str | None = None  # noqa: N815 - the callers' spelling
    groupName: str | None = None  # noqa: N815 - the callers' spelling


def create_app(redis_url: str) -> FastAPI:
    """Make the application."""
    app = FastAPI()
    store = redis.from_url(redis_url)

    @app.post("/v1/hubs/{hub}/messages", status_code=202)
    async def messages(hub: str, body: list[Message] | Message) -> dict[str, int]:
        items = body if isinstance(body, list) else [body]
        for item in items:
            await store.xadd(STREAM, {"hub": hub, "message": json.dumps(item.model_dump())})
        return {"accepted": len(items)}

    @app.get("/readyz")
    async def readyz() -> Response:
        return Response()

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
    )
