"""Frames of a 4-byte little-endian length and the bytes, as the Python peers use them, and their exit codes."""

import struct
import sys

REFUSED, NETWORK, MISMATCH = 1, 3, 4


def send_frame(stream, token):
    stream.sendall(struct.pack("<I", len(token)) + token)


def receive_frame(stream):
    (length,) = struct.unpack("<I", receive(stream, 4))
    return receive(stream, length)


def receive(stream, length):
    data = bytearray()
    while len(data) < length:
        part = stream.recv(length - len(data))
        if not part:
            raise ConnectionError("the connection was closed where a token was expected")
        data += part
    return bytes(data)


def require(condition, text):
    if not condition:
        print(text, file=sys.stderr)
        sys.exit(MISMATCH)
