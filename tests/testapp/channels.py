"""A rule that is there without anybody importing it."""

from pusherable.authorization import authorize


@authorize("testapp-greeting")
def may_be_greeted(request, channel):
    return True
