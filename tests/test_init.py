import subprocess
import sys

import pytest

import pusherable
from pusherable import bulk, client, publishing, suppression


class TestDoor:
    def test_a_handful_of_names_is_there(self):
        assert pusherable.publish is publishing.publish
        assert pusherable.trigger is publishing.trigger
        assert pusherable.get_client is client.get_client
        assert pusherable.apublish is publishing.apublish
        assert pusherable.atrigger is publishing.atrigger
        assert pusherable.publish_many is bulk.publish_many
        assert pusherable.apublish_many is bulk.apublish_many
        assert pusherable.suppress is suppression.suppress
        assert {"publish", "trigger", "get_client", "__version__"} <= set(dir(pusherable))

    def test_other_names_are_not(self):
        with pytest.raises(AttributeError, match="module 'pusherable' has no attribute 'push'"):
            _ = pusherable.push

    def test_django_starts_without_the_pusher_package(self):
        script = (
            "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'; django.setup(); "
            "print('pusher' in sys.modules, 'urllib3' in sys.modules)"
        )
        finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert finished.stdout.split() == ["False", "False"]
