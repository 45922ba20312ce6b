"""How messages are written on the way: the frames of WebSockets, the blocks of event streams."""

import re
import struct
from collections.abc import Callable, Iterator

#: Gives the whole messages in what a subscriber has received, and where in it each ends.
Parse = Callable[[bytes], Iterator[tuple[bytes, int]]]

_BLOCK = re.compile(rb".*?\n\n", re.DOTALL)


def masked_frame(payload: bytes, *, opcode: int = 1) -> bytes:
    """A frame as a client sends it, of any length; a mask of zeros leaves the payload as it is."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0xFE, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0xFF, length)
    return head + b"\0\0\0\0" + payload


def parse_frames(received: bytes) -> Iterator[tuple[bytes, int]]:
    """The payloads of a server's frames."""
    position = 0
    while position + 2 <= len(received):
        length, start = received[position + 1] & 0x7F, position + 2
        if length == 126:
            length, start = int.from_bytes(received[start : start + 2]), start + 2
        elif length == 127:
            length, start = int.from_bytes(received[start : start + 8]), start + 8
        position = start + length
        if position > len(received):
            return
        yield received[start:position], position


def parse_blocks(received: bytes) -> Iterator[tuple[bytes, int]]:
    """Name and data of a stream's events, a line each; a block without an event is an empty message."""
    return ((_read_block(block[0]), block.end()) for block in _BLOCK.finditer(received))


def parse_chunked_blocks(received: bytes) -> Iterator[tuple[bytes, int]]:
    """The same where HTTP cuts the stream into chunks; an event ends with the chunk that brings its end."""
    rest = b""
    for chunk, position in _chunks(received):
        blocks, separator, rest = (rest + chunk).rpartition(b"\n\n")
        for message, _ in parse_blocks(blocks + separator):
            yield message, position


def _chunks(received: bytes) -> Iterator[tuple[bytes, int]]:
    position = 0
    while (end_of_line := received.find(b"\r\n", position)) >= 0:
        start = end_of_line + 2
        end = start + int(received[position:end_of_line], 16)
        position = end + 2
        if position > len(received):
            return
        yield received[start:end], position


def _read_block(block: bytes) -> bytes:
    fields = [line.partition(b": ")[::2] for line in block.splitlines()]
    name = b"".join(value for field, value in fields if field == b"event")
    return b"\n".join([name, *(value for field, value in fields if field == b"data")]) if name else b""
