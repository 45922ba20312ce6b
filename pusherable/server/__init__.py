"""A Pusher Channels server in one process; knows nothing of Django. Needs the ``server`` extra."""
