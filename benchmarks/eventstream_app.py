"""django-eventstream without storage or Redis: its view for the streams, and one that publishes.

As small as its documentation makes such an app; served by uvicorn, which serves ours too. The view that publishes is
async, so that no event has to wait for a thread.
"""

from django.conf import settings
from measuring import listen

settings.configure(
    SECRET_KEY="of the benchmark alone",
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["django_eventstream"],
    ROOT_URLCONF=__name__,
)

import django  # noqa: E402

django.setup()

import uvicorn  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django_eventstream import send_event  # noqa: E402
from django_eventstream.views import events  # noqa: E402


async def publish(request):
    send_event("post_1", "update", request.body.decode(), json_encode=False)
    return JsonResponse({}, headers={"Content-Length": "2"})


urlpatterns = [path("stream", events, {"channels": ["post_1"]}), path("publish", publish)]


def main():
    listener = listen()
    config = uvicorn.Config(get_asgi_application(), lifespan="off", log_config=None, access_log=False)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
