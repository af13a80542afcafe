"""A GSS-API initiator in Python over frames of a 4-byte little-endian length and a token.

It authenticates to a service, then checks protected messages: MICs and wrap tokens made by the service, and, by their
echoes, its own. Exit codes: 0 done, 1 refused by GSS-API, 2 usage, 3 network, 4 something came back changed.
"""

import argparse
import os
import socket
import sys

import gssapi

from frames import NETWORK, REFUSED, receive_frame, require, send_frame

FLAGS = {
    "mutual": gssapi.RequirementFlag.mutual_authentication,
    "replay": gssapi.RequirementFlag.replay_detection,
    "sequence": gssapi.RequirementFlag.out_of_sequence_detection,
    "conf": gssapi.RequirementFlag.confidentiality,
    "integ": gssapi.RequirementFlag.integrity,
}


def main():
    options = read_options()
    try:
        with socket.create_connection((options.host, options.port), timeout=30) as stream:
            context = authenticate(stream, options)
            print(f"authenticated {context.initiator_name} to {context.target_name}")
            if options.mic is not None:
                exchange_mics(stream, context, options.mic.encode())
            if options.message is not None:
                print("reply", round_trip(stream, context, options.message.encode(), options).decode())
            for size in options.sizes:
                message = os.urandom(size)
                require(round_trip(stream, context, message, options) == message, f"the echo of {size} bytes differs")
                print("echoed", size)
    except gssapi.exceptions.GSSError as error:
        print(f"refused: {error}", file=sys.stderr)
        sys.exit(REFUSED)
    except OSError as error:
        print(f"network: {error}", file=sys.stderr)
        sys.exit(NETWORK)


def read_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("spn", help="CLASS/HOST@REALM")
    parser.add_argument("--flags", default="mutual,replay,sequence,conf,integ")
    parser.add_argument("--bindings", type=bytes.fromhex, help="channel bindings: application data in hexadecimal")
    parser.add_argument("--message")
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[])
    parser.add_argument("--unsealed", action="store_true", help="wrap without confidentiality")
    parser.add_argument("--mic", help="exchange a MIC over this text each way after the handshake")
    options = parser.parse_args()
    unknown = [name for name in options.flags.split(",") if name not in FLAGS]
    if unknown:
        parser.error(f"unknown flags {unknown}; known are {list(FLAGS)}")
    return options


def authenticate(stream, options):
    flags = 0
    for name in options.flags.split(","):
        flags |= FLAGS[name]
    bindings = None
    if options.bindings is not None:
        bindings = gssapi.raw.ChannelBindings(application_data=options.bindings)
    context = gssapi.SecurityContext(
        name=gssapi.Name(options.spn, gssapi.NameType.kerberos_principal),
        mech=gssapi.MechType.kerberos,
        flags=flags,
        channel_bindings=bindings,
        usage="initiate",
    )
    token = None
    while not context.complete:
        token = context.step(token)
        if token:
            send_frame(stream, token)
        if not context.complete:
            token = receive_frame(stream)
    return context


def exchange_mics(stream, context, text):
    send_frame(stream, context.get_signature(text))
    context.verify_signature(text, receive_frame(stream))
    print("MIC verified")


def round_trip(stream, context, message, options):
    wrapped = context.wrap(message, not options.unsealed)
    require(wrapped.encrypted != options.unsealed, "wrap did not do as it was told")
    send_frame(stream, wrapped.message)
    answer = context.unwrap(receive_frame(stream))
    require(answer.encrypted != options.unsealed, "the reply is not protected as the message was")
    return answer.message


if __name__ == "__main__":
    main()
