"""The reference implementation of an HTTPS proxy for KDCs (MS-KKDCP), the module kdcproxy, as a program.

    kdcproxy_peer.py CERTIFICATES KEY REALM KDC_PORT    listen on a free port of 127.0.0.1, say "listening on ADDRESS"

CERTIFICATES and KEY are PEM files. /KdcProxy leads to the KDC of REALM at KDC_PORT of 127.0.0.1, by TCP. Other paths do what a
broken proxy does: /redirect, /missing, /garbage, /length (one that is not the message's), /huge, /silent. The program
ends with its input.
"""

import os
import socketserver
import ssl
import sys
import tempfile
import threading
import time
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

certificates, key, realm, kdc_port = sys.argv[1:]

with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
    config.write(f"[global]\nuse_dns = false\n[{realm}]\nkerberos = kerberos+tcp://127.0.0.1:{kdc_port}\n")
    config.flush()
    # The module reads it while it is imported.
    os.environ["KDCPROXY_CONFIG"] = config.name
    import kdcproxy

BROKEN = {
    "/redirect": ("307 Temporary Redirect", [("Location", "/KdcProxy")], b""),
    "/missing": ("404 Not Found", [], b"nothing here"),
    "/garbage": ("200 OK", [], b"garbage"),
    "/length": ("200 OK", [], b"\x30\x0a\xa0\x08\x04\x06\x00\x00\x00\x63\x7e\x00"),
    "/huge": ("200 OK", [], b"\x30\x83\x20\x00\x00" + bytes(2 << 20)),
}


def application(environment, start_response):
    path = environment["PATH_INFO"]
    if path == "/silent":
        time.sleep(60)
    if path in BROKEN:
        # What is left unread would reset the connection.
        environment["wsgi.input"].read(int(environment["CONTENT_LENGTH"]))
        status, headers, body = BROKEN[path]
        start_response(status, headers)
        return [body]
    if environment["CONTENT_TYPE"] != "application/kerberos":
        start_response("415 Unsupported Media Type", [])
        return [b""]
    return kdcproxy.application(environment, start_response)


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


def end_with_input():
    sys.stdin.read()
    os._exit(0)


server = make_server("127.0.0.1", 0, application, Server, Quiet)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificates, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=end_with_input, daemon=True).start()
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
