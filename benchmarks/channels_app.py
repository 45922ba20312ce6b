"""Django Channels: one group, a consumer that sends on, and a view that publishes.

As small as its documentation makes such an app; served by uvicorn, which serves ours too. ``channels_app.py [LAYER
REDIS]``: a class of channels_redis, and where Redis is, instead of the layer in memory.
"""

import sys

from django.conf import settings
from measuring import listen

LAYER, *HOSTS = sys.argv[1:] or ["channels.layers.InMemoryChannelLayer"]

settings.configure(
    SECRET_KEY="of the benchmark alone",
    CHANNEL_LAYERS={
        "default": {"BACKEND": LAYER, "CONFIG": {"capacity": 1000} | ({"hosts": HOSTS} if HOSTS else {})},
    },
)

import django  # noqa: E402

django.setup()

import uvicorn  # noqa: E402
from channels.generic.http import AsyncHttpConsumer  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402


class Subscriber(AsyncWebsocketConsumer):
    async def connect(self):
        await self.channel_layer.group_add("post_1", self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard("post_1", self.channel_name)

    async def send_on(self, message):
        await self.send(text_data=message["text"])


class Publisher(AsyncHttpConsumer):
    async def handle(self, body):
        await self.channel_layer.group_send("post_1", {"type": "send_on", "text": body.decode()})
        headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"2")]
        await self.send_response(200, b"{}", headers=headers)


def main():
    listener = listen()
    app = ProtocolTypeRouter({"http": Publisher.as_asgi(), "websocket": Subscriber.as_asgi()})
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws_ping_interval=None)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
