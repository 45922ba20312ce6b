"""Reading the documentation's own source: its code blocks, and its prose without them."""

import re
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

_DIRECTIVE = re.compile(r"^( *)\.\. ([a-z-]+):: *(.*)$")


class Block(NamedTuple):
    directive: str
    argument: str
    content: str


def split(text: str) -> tuple[list[Block], str]:
    """The directives of a text, and what is left without them."""
    blocks, prose, lines = [], [], text.splitlines()
    while lines:
        line = lines.pop(0)
        match = _DIRECTIVE.match(line)
        if match is None:
            prose.append(line)
            continue
        inside = []
        while lines and (not lines[0].strip() or lines[0].startswith(match[1] + "   ")):
            inside.append(lines.pop(0))
        blocks.append(Block(match[2], match[3], dedent("\n".join(inside)).strip("\n") + "\n"))
    return blocks, "\n".join(prose)


def code_blocks(text: str, language: str) -> list[str]:
    return [
        content for directive, argument, content in split(text)[0] if (directive, argument) == ("code-block", language)
    ]
