"""An event loop whose time stands still, and a transport that takes some of it."""


class FakeLoop:
    """As much of an event loop as an outbox uses; its time stands still until a test, or a write, moves it."""

    def __init__(self):
        self.now = 1_000.0
        self._timers = []

    def time(self):
        return self.now

    def call_soon(self, callback):
        return self.call_later(0, callback)

    def call_later(self, delay, callback):
        handle = FakeHandle(self.now + delay, callback)
        self._timers.append(handle)
        return handle

    def advance(self, seconds=0.0):
        """Let time pass, and call whatever is due by then, what that brings about included."""
        self.now += seconds
        while due := [timer for timer in self._timers if timer.when <= self.now]:
            self._timers = [timer for timer in self._timers if timer not in due]
            for timer in sorted(due, key=lambda timer: timer.when):
                timer.run()


class FakeHandle:
    def __init__(self, when, callback):
        self.when = when
        self._callback = callback

    def run(self):
        self._callback()

    def cancel(self):
        self._callback = lambda: None


class SlowTransport:
    """Keeps what is written to it; every write takes some of the loop's time."""

    def __init__(self, loop, *, seconds=0.0):
        self.written = []
        self._loop = loop
        self._seconds = seconds

    def write(self, data):
        self.written.append(data)
        self._loop.now += self._seconds
