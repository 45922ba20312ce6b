"""The least that a uvicorn app can do: it answers every request with ``{}``, as ``api.py`` compares with."""

import sys

import uvicorn
from measuring import listen

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
}
_BODY = {"type": "http.response.body", "body": b"{}"}


async def app(scope, receive, send):
    await send(_START)
    await send(_BODY)


if __name__ == "__main__":
    listener = listen()
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, http=sys.argv[1], loop="asyncio", lifespan="off", log_config=None, access_log=False, server_header=False
    )
    uvicorn.Server(config).run(sockets=[listener])
