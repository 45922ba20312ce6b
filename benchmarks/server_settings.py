"""The settings with which the benchmarks run ``runpushserver``: an app, and nothing else."""

import os

SECRET_KEY = "of the benchmark alone"
USE_TZ = True
INSTALLED_APPS = ["pusherable"]
PUSHER_APP_ID = "1"
PUSHER_KEY = "key"
PUSHER_SECRET = "secret"
PUSHER_HOST = "127.0.0.1"
PUSHER_PORT = int(os.environ["BENCHMARK_PORT"])
PUSHER_SSL = False
