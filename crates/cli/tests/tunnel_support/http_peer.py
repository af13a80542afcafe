"""A service that speaks HTTP/1.1 and keeps its connections, by Python's own http.server.

    http_peer.py    listen on a free port of 127.0.0.1, say "listening on ADDRESS"

PUT keeps a body, whether its length stands before it or it comes in chunks; GET gives it back with its length, and in chunks
where the query is "chunked". The header Connection-Number says on which connection, counted from 1, an answer goes.
"""

import itertools
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

bodies = {}
numbers = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.number = next(numbers)

    def do_PUT(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self.chunks())
        else:
            body = self.exactly(int(self.headers["Content-Length"]))
        bodies[self.path] = body
        self.answer(201, str(len(body)).encode())

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path not in bodies:
            self.answer(404, b"")
        elif query == "chunked":
            self.begin(200, "Transfer-Encoding", "chunked")
            self.send_in_chunks(bodies[path])
        else:
            self.answer(200, bodies[path])

    def chunks(self):
        while length := int(self.rfile.readline(), 16):
            yield self.exactly(length)
            self.exactly(2)
        while self.rfile.readline().strip():
            pass

    def exactly(self, length):
        body = self.rfile.read(length)
        assert len(body) == length, "a body that was cut"
        return body

    def send_in_chunks(self, body):
        start = 0
        for length in itertools.cycle([1, 1000, 65536, 300000]):
            chunk = body[start : start + length]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            if not chunk:
                break
            start += length

    def begin(self, status, name, value):
        self.send_response(status)
        self.send_header(name, value)
        self.send_header("Connection-Number", str(self.number))
        self.end_headers()

    def answer(self, status, body):
        self.begin(status, "Content-Length", str(len(body)))
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("listening on %s:%d" % server.server_address, flush=True)
server.serve_forever()
