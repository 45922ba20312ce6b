"""What the newsroom sends along with every page."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from pusherable.pusherjs import PLAIN

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Let pages load and connect to nothing but this site, and run nothing that is written into them."""

    def add_policy(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers["Content-Security-Policy"] = get_policy()
        return response

    return add_policy


def get_policy() -> str:
    """The policy, with one exception: a pusherable that was built without pusher-js names a CDN for it."""
    return POLICY if PLAIN.is_intact() else f"{POLICY}; script-src 'self' {PLAIN.cdn_url}"
