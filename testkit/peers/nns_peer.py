"""Both ends of NNS (.NET's NegotiateStream, MS-NNS) in Python, over the contexts of pyspnego.

    nns_peer.py client HOST PORT SPN [options]    authenticate, send messages of the sizes that are asked for, check the echo
    nns_peer.py server PORT [options]             listen on 127.0.0.1 (port 0: a free one), authenticate, echo

What is authenticated with follows from the environment, as in spnego_peer.py. A record of the handshake is a kind, a version of two
bytes, a length of two bytes in big-endian and a token; a record of data is a length of four bytes in little-endian and a protected
message. Every message goes in one record, an empty one too, which our own ends take for the mark of the end.

Exit codes: 0 done, 1 refused, 2 usage, 3 network, 4 something came back changed.
"""

import argparse
import os
import socket
import struct
import sys

import spnego
from spnego.exceptions import SpnegoError

from frames import NETWORK, REFUSED, receive, receive_frame, require, send_frame

DONE, ERROR, IN_PROGRESS = 0x14, 0x15, 0x16
# What .NET writes at most into one record.
LONGEST_MESSAGE = 63 * 1024
# Length of its signature in bytes.
NTLM_SIGNATURE = 16
LOGON_DENIED, TRUST_FAILURE = 0x8009030C, 1790
ORDERS = {"big-endian": ">q", "little-endian": "<q"}
IMPLEMENTATIONS = {
    "negotiate": spnego.NegotiateOptions.use_negotiate,
    "ntlm": spnego.NegotiateOptions.use_ntlm,
}
MECHANISMS = {"kerberos": "krb5", "ntlm": "ntlm"}
TIMEOUT_SECONDS = 30


class Refused(Exception):
    """Why one of the ends gave up."""


def main():
    sys.stdout.reconfigure(line_buffering=True)
    options = read_options()
    try:
        options.run(options)
    except (Refused, SpnegoError) as error:
        complain("refused", error)
        sys.exit(REFUSED)
    except OSError as error:
        complain("network", error)
        sys.exit(NETWORK)


def complain(what, error):
    print(f"{what}:", " ".join(str(error).split()), file=sys.stderr)


def read_options():
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(required=True)
    client = roles.add_parser("client")
    client.set_defaults(run=connect)
    client.add_argument("host")
    client.add_argument("port", type=int)
    client.add_argument("spn", help="CLASS/HOST")
    client.add_argument("--user", help="DOMAIN\\USER")
    client.add_argument("--password")
    client.add_argument("--protocol", choices=IMPLEMENTATIONS, default="negotiate")
    client.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[])
    server = roles.add_parser("server")
    server.set_defaults(run=serve_all)
    server.add_argument("port", type=int)
    for role in (client, server):
        role.add_argument("--level", choices=("encrypt", "sign"), default="encrypt")
        role.add_argument("--mic", action="store_true", help="with sign: a MIC before the text instead of a wrap token")
        role.add_argument("--error-order", choices=ORDERS, default="big-endian")
    return parser.parse_args()


def requirements(options):
    flags = spnego.ContextReq.mutual_auth | spnego.ContextReq.integrity
    flags |= spnego.ContextReq.replay_detect | spnego.ContextReq.sequence_detect
    if options.level == "encrypt":
        flags |= spnego.ContextReq.confidentiality
    return flags


def connect(options):
    service, host = options.spn.split("/", 1)
    context = spnego.client(
        options.user,
        options.password,
        hostname=host,
        service=service,
        protocol=options.protocol,
        options=IMPLEMENTATIONS[options.protocol],
        context_req=requirements(options),
    )
    with socket.create_connection((options.host, options.port), timeout=TIMEOUT_SECONDS) as stream:
        Handshake(stream, options).initiate(context)
        report(context)
        for size in options.sizes:
            text = os.urandom(size)
            send(stream, context, options, text)
            require(receive_text(stream, context, options, size) == text, f"the echo of {size} bytes differs")
            print("echoed", size)
        send_frame(stream, protect(context, options, b""))


def serve_all(options):
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        print(f"listening on 127.0.0.1:{listener.getsockname()[1]}")
        while True:
            stream, _ = listener.accept()
            with stream:
                stream.settimeout(TIMEOUT_SECONDS)
                try:
                    serve(stream, options)
                except (Refused, SpnegoError) as error:
                    complain("refused", error)
                except OSError as error:
                    complain("network", error)


def serve(stream, options):
    context = spnego.server(protocol="negotiate", options=IMPLEMENTATIONS["negotiate"], context_req=requirements(options))
    Handshake(stream, options).accept(context)
    report(context)
    while True:
        try:
            message = receive_frame(stream)
        except ConnectionError:
            return
        text, encrypted = unprotect(context, options, message)
        print("message", len(text), "encrypted" if encrypted else "signed", flush=True)
        send(stream, context, options, text)


def report(context):
    print(f"negotiated {MECHANISMS[context.negotiated_protocol]}")


class Handshake:
    """The records of one handshake."""

    def __init__(self, stream, options):
        self.stream = stream
        self.options = options
        self.peer_done = False

    def initiate(self, context):
        token = None
        while True:
            answer = self.step(context, token)
            if context.complete:
                break
            self.send(IN_PROGRESS, answer)
            token = self.receive()
        if not self.peer_done:
            self.send(DONE, answer)
            self.receive()
            if not self.peer_done:
                self.fail(LOGON_DENIED, "the server goes on after both are done")
        elif answer:
            self.fail(LOGON_DENIED, "the server is done and our last token is not sent")

    def accept(self, context):
        while not context.complete:
            answer = self.step(context, self.receive())
            if not context.complete:
                self.send(IN_PROGRESS, answer)
        if self.options.level == "encrypt" and not context.context_attr & spnego.ContextReq.confidentiality:
            self.fail(TRUST_FAILURE, "the client asks for less protection")
        self.send(DONE, answer)

    def step(self, context, token):
        try:
            return context.step(token) or b""
        # pyspnego asks a context that GSS-API refused with a token for its flags, of which it has none.
        except (SpnegoError, AttributeError) as error:
            self.fail(LOGON_DENIED, error)

    def send(self, kind, token):
        self.stream.sendall(struct.pack(">BBBH", kind, 1, 0, len(token)) + token)

    def receive(self):
        kind, _, _, length = struct.unpack(">BBBH", receive(self.stream, 5))
        token = receive(self.stream, length)
        if kind == ERROR:
            raise Refused(f"by the peer with {token.hex()}")
        if kind not in (DONE, IN_PROGRESS):
            raise Refused(f"a record of kind {kind:#x}")
        if kind == IN_PROGRESS and self.peer_done:
            raise Refused("the peer goes on after it was done")
        self.peer_done = kind == DONE
        return token

    def fail(self, status, error):
        """Says why, and closes."""
        signed = status - (1 << 32) if status >> 31 else status
        order = self.options.error_order
        # Old .NET takes the 32 bits for a number without a sign.
        self.send(ERROR, struct.pack(ORDERS[order], signed if order == "little-endian" else status))
        raise Refused(error)


def protect(context, options, text):
    if options.mic or bare_signatures(context, options):
        return context.sign(text) + text
    return context.wrap(text, encrypt=options.level == "encrypt").data


def unprotect(context, options, message):
    if bare_signatures(context, options):
        signature, text = message[:NTLM_SIGNATURE], message[NTLM_SIGNATURE:]
        context.verify(text, signature)
        return text, False
    result = context.unwrap(message)
    return result.data, result.encrypted


def bare_signatures(context, options):
    """NTLM's own layout; pyspnego would seal what it is to wrap."""
    return options.level == "sign" and context.negotiated_protocol == "ntlm"


def send(stream, context, options, text):
    """In as many records as it takes; an empty text is one, too."""
    for start in range(0, max(len(text), 1), LONGEST_MESSAGE):
        send_frame(stream, protect(context, options, text[start : start + LONGEST_MESSAGE]))


def receive_text(stream, context, options, length):
    text = bytearray()
    while len(text) < length:
        part, encrypted = unprotect(context, options, receive_frame(stream))
        require(encrypted == (options.level == "encrypt"), "the other level of protection")
        text += part
    return bytes(text)


if __name__ == "__main__":
    main()
