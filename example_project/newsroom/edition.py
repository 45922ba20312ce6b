"""The first edition: who works here, and what they have written before you came."""

from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from newsroom.models import Post, Tag


@dataclass(frozen=True)
class DemoUser:
    """Someone to log in as; the password is no secret."""

    username: str
    password: str


DEMO_USERS = (DemoUser("ada", "lovelace"), DemoUser("grace", "hopper"))

TAGS = ("City", "Culture", "Nature", "Science", "Sport", "Weather")

# Newest first: username, cover colour, tags, hours ago, title, body.
POSTS = (
    (
        "grace",
        "teal",
        ("City",),
        1,
        "Night ferry to run again from the first of May",
        "After eleven silent years the last boat will leave the old pier at half past midnight, every night "
        "but Monday.\n\n"
        "“People kept asking the lamp at the landing when it would come back,” says the harbour master, who "
        "has painted the timetable by hand. “Now the lamp has an answer.”\n\n"
        "Tickets are sold on board. Bicycles travel free, and so do accordions, provided that they are "
        "played.",
    ),
    (
        "ada",
        "ochre",
        ("Science", "Culture"),
        4,
        "Mill organ plays from punched cards once more",
        "The loom cards found in the mill's attic turned out to be music. Two apprentices and a retired "
        "teacher of mathematics have read them, card by card, for a whole winter.\n\n"
        "On Saturday the organ will play the first forty of them. Nobody knows the tune yet; the teacher "
        "claims to have heard it in the numbers.",
    ),
    (
        "grace",
        "moss",
        ("Nature", "City"),
        9,
        "Moth found in the relay room of the tram depot",
        "It was stuck between two contacts, and line 4 stood still for nine minutes. The moth was taped into "
        "the log book, with the time of day beside it.\n\n"
        "The tram company asks passengers to close the windows after dark. The moth was of a rare kind.",
    ),
    (
        "ada",
        "plum",
        ("Culture",),
        26,
        "Library lends out silence, by the half hour",
        "Borrowers receive a brass token and a chair by the north window. Whoever speaks hands the token "
        "back.\n\n"
        "The waiting list reaches into July.",
    ),
    (
        "grace",
        "brick",
        ("Sport",),
        50,
        "Brickworks beat the Gardeners by a single goal",
        "It fell in the last minute and went in off the referee, who has apologised to both teams and to "
        "his mother.\n\n"
        "The return match is in the botanical garden. Visitors are asked to keep to the paths.",
    ),
    (
        "ada",
        "ink",
        ("Weather",),
        73,
        "Fog, says the forecast; come and look, says the fog",
        "From Thursday on the valley will be filled up to the church clock. Those who live above it may "
        "rent out their balconies; those below are advised to whistle at corners.",
    ),
)

# On the desks of their authors, in the same form.
DRAFTS = (
    (
        "ada",
        "moss",
        ("City",),
        0,
        "Who waters the clock on the market square?",
        "Somebody does, every Tuesday before six, and the moss on its hands is greener than ever. I have a name, "
        "and no second source.",
    ),
    (
        "grace",
        "ochre",
        ("Science",),
        0,
        "Compiler of the town chronicle found in the chronicle",
        "He appears on page 311, in a footnote, as a witness to his own appointment. To be checked against the "
        "original.",
    ),
)


@transaction.atomic
def print_first_edition() -> None:
    """Bring in what is missing: users by their name, posts only where there is not a single one."""
    users = {user.username: _hire(user) for user in DEMO_USERS}
    tags = {name: Tag.objects.get_or_create(name=name)[0] for name in TAGS}
    if Post.objects.exists():
        return
    now = timezone.now()
    for username, colour, tag_names, hours, title, body in (*POSTS, *DRAFTS):
        post = Post.objects.create(
            title=title,
            body=body,
            colour=colour,
            author=users[username],
            published=now - timedelta(hours=hours),
            is_draft=not hours,
        )
        post.tags.set(tags[name] for name in tag_names)


def _hire(demo_user: DemoUser):
    users = get_user_model().objects
    return users.filter(username=demo_user.username).first() or users.create_user(
        demo_user.username, password=demo_user.password
    )
