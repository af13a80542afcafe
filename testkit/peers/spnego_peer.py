"""An initiator and an acceptor of pyspnego, over frames of a 4-byte little-endian length and a token.

    spnego_peer.py initiate HOST PORT SPN [options]    authenticate, then send what the options say and check the echo
    spnego_peer.py accept PORT [options]               listen on 127.0.0.1 (port 0: a free one), authenticate, echo

SPNEGO and NTLM are those that pyspnego has written itself; Kerberos comes from GSS-API. After the handshake each frame
is one wrapped message. What SPNEGO offers or accepts follows from the environment: Kerberos where there is a ccache or a
keytab, NTLM where NTLM_USER_FILE names a file of DOMAIN:USER:PASSWORD lines. The acceptor's accounts are in that file.

Exit codes: 0 done, 1 refused, 2 usage, 3 network, 4 something came back changed.
"""

import argparse
import os
import socket
import sys

import spnego
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

from frames import NETWORK, REFUSED, receive_frame, require, send_frame

FLAGS = {
    "deleg": spnego.ContextReq.delegate,
    "mutual": spnego.ContextReq.mutual_auth,
    "replay": spnego.ContextReq.replay_detect,
    "sequence": spnego.ContextReq.sequence_detect,
    "conf": spnego.ContextReq.confidentiality,
    "integ": spnego.ContextReq.integrity,
    "dce": spnego.ContextReq.dce_style,
    "identify": spnego.ContextReq.identify,
}
# Which of pyspnego's implementations serves a protocol; inside SPNEGO it makes the same choice for each mechanism.
IMPLEMENTATIONS = {
    "negotiate": spnego.NegotiateOptions.use_negotiate,
    "ntlm": spnego.NegotiateOptions.use_ntlm,
    "kerberos": spnego.NegotiateOptions.use_gssapi,
}
# The names that gss_peer has for the mechanisms.
MECHANISMS = {"kerberos": "krb5", "ntlm": "ntlm"}
TIMEOUT_SECONDS = 30


def main():
    sys.stdout.reconfigure(line_buffering=True)
    options = read_options()
    try:
        options.run(options)
    except SpnegoError as error:
        refused(error)
        sys.exit(REFUSED)
    except OSError as error:
        print(f"network: {error}", file=sys.stderr)
        sys.exit(NETWORK)


def read_options():
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(required=True)
    initiator = roles.add_parser("initiate")
    initiator.set_defaults(run=initiate)
    initiator.add_argument("host")
    initiator.add_argument("port", type=int)
    initiator.add_argument("spn", help="CLASS/HOST, or CLASS/HOST@REALM, whose realm is left to the library")
    initiator.add_argument("--user", help="USER, DOMAIN\\USER or USER@REALM")
    initiator.add_argument("--password")
    initiator.add_argument("--message", help="send this text and write the reply")
    initiator.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[])
    initiator.add_argument("--save-token", help="write the first token sent to this file")
    acceptor = roles.add_parser("accept")
    acceptor.set_defaults(run=accept)
    acceptor.add_argument("port", type=int)
    for role in (initiator, acceptor):
        role.add_argument("--protocol", choices=IMPLEMENTATIONS, default="negotiate")
        role.add_argument("--flags", type=flags, default=spnego.ContextReq.default)
        role.add_argument("--bindings", type=bindings, help="channel bindings: application data in hexadecimal")
        role.add_argument("--mic", help="exchange a MIC over this text each way after the handshake")
    return parser.parse_args()


def flags(text):
    value = spnego.ContextReq.none
    for name in text.split(","):
        if name not in FLAGS:
            raise argparse.ArgumentTypeError(f"unknown flag {name}; known are {list(FLAGS)}")
        value |= FLAGS[name]
    return value


def bindings(text):
    return GssChannelBindings(application_data=bytes.fromhex(text))


def initiate(options):
    service, host = options.spn.split("@")[0].split("/", 1)
    context = spnego.client(options.user, options.password, hostname=host, service=service, **common(options))
    with socket.create_connection((options.host, options.port), timeout=TIMEOUT_SECONDS) as stream:
        handshake(stream, context, None, options.save_token)
        report(context, "-", options.spn)
        if options.mic is not None:
            send_frame(stream, context.sign(options.mic.encode()))
            verify_mic(stream, context, options.mic.encode())
        if options.message is not None:
            print("reply", round_trip(stream, context, options.message.encode()).decode())
        for size in options.sizes:
            message = os.urandom(size)
            require(round_trip(stream, context, message) == message, f"the echo of {size} bytes differs")
            print("echoed", size)


def accept(options):
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        print(f"listening on 127.0.0.1:{listener.getsockname()[1]}")
        while True:
            stream, _ = listener.accept()
            with stream:
                stream.settimeout(TIMEOUT_SECONDS)
                serve(stream, options)


def serve(stream, options):
    try:
        context = spnego.server(**common(options))
        handshake(stream, context, receive_frame(stream), None)
        report(context, context.client_principal, "-")
        if options.mic is not None:
            verify_mic(stream, context, options.mic.encode())
            send_frame(stream, context.sign(options.mic.encode()))
        echo(stream, context)
    except SpnegoError as error:
        refused(error)
    except OSError as error:
        print(f"network: {error}", file=sys.stderr)


def common(options):
    return {
        "protocol": options.protocol,
        "options": IMPLEMENTATIONS[options.protocol],
        "context_req": options.flags,
        "channel_bindings": options.bindings,
    }


def handshake(stream, context, token, save_token):
    while True:
        answer = context.step(token)
        if answer:
            if save_token is not None:
                with open(save_token, "wb") as file:
                    file.write(answer)
                save_token = None
            send_frame(stream, answer)
        if context.complete:
            return
        token = receive_frame(stream)


def report(context, initiator, acceptor):
    names = ",".join(name for name, bit in FLAGS.items() if context.context_attr & bit)
    print(f"negotiated {MECHANISMS[context.negotiated_protocol]}")
    print(f"authenticated {initiator} to {acceptor} flags {names}")


def verify_mic(stream, context, text):
    context.verify(text, receive_frame(stream))
    print("MIC verified")


def round_trip(stream, context, message):
    send_frame(stream, context.wrap(message).data)
    return context.unwrap(receive_frame(stream)).data


def echo(stream, context):
    while True:
        try:
            token = receive_frame(stream)
        except ConnectionError:
            return
        message = context.unwrap(token).data
        print("message", len(message))
        send_frame(stream, context.wrap(message).data)


def refused(error):
    print("refused:", " ".join(str(error).split()), file=sys.stderr)


if __name__ == "__main__":
    main()
