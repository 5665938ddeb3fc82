"""Floor of the ingress: a FastAPI route that reads the body and does nothing with it."""

import sys

import uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.post("/v1/hubs/{hub}/messages")
async def messages(hub: str, request: Request) -> Response:
    """Read and forget."""
    del hub
    await request.body()
    return Response(b"{}", 202, media_type="application/json")


@app.get("/readyz")
async def readyz() -> Response:
    """Answer 200, because the server is up."""
    return Response()


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning", timeout_keep_alive=75
    )
