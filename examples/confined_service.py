"""A service that confines itself after start-up: it opens its socket, gives up everything that serving does not need, and serves.

    python3 examples/confined_service.py PORT        serve until it is ended
    python3 examples/confined_service.py             a demonstration: a client asks, also for what a careless service would give

The protocol is one line a request: ``upper TEXT``, ``sum NUMBERS``, and ``file PATH``, which is the hole: a service should not have it, and after
start-up this one cannot open files any more. The filter stays for good, and no connection can be made from here.
"""

import os
import socket
import sys

import seclude

POLICY = """
include compute

# What serving on a socket that is open already takes. None of these opens a connection or a file.
allow accept, accept4
allow recvfrom, sendto, shutdown, getpeername, getsockname
allow getsockopt
allow setsockopt(level == SOL_SOCKET or level == IPPROTO_TCP)
"""


def answer(request: str) -> str:
    """The reply to one request."""
    verb, _, rest = request.strip().partition(" ")
    if verb == "upper":
        return rest.upper()
    if verb == "sum":
        return str(sum(map(int, rest.split())))
    if verb == "file":
        with open(rest) as file:
            return file.readline().strip()
    raise ValueError(f"no such request: {verb}")


def serve(listening: socket.socket, requests: int | None) -> None:
    """Answer requests, one a connection; for ever, or so many."""
    while requests is None or requests > 0:
        connection, _ = listening.accept()
        with connection:
            try:
                reply = "ok " + answer(connection.recv(1000).decode())
            except (OSError, ValueError) as error:
                reply = f"error {error}"
            connection.sendall(reply.encode() + b"\n")
        requests = None if requests is None else requests - 1


def client(port: int, requests: list[str]) -> None:
    """Ask, and print what comes."""
    for request in requests:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request.encode() + b"\n")
            print(f"{request}: {connection.makefile().readline().strip()}")


def main(words: list[str]) -> None:
    """Open, confine, serve."""
    listening = socket.create_server(("127.0.0.1", int(words[0]) if words else 0))
    requests = ["upper hello", "sum 1 2 3", "file /etc/passwd", "file /etc/hostname", "sum 4 5"]
    if not words and os.fork() == 0:
        port = listening.getsockname()[1]
        listening.close()
        client(port, requests)
        sys.exit()
    # From here on there is no way back: not for this process, and not for anything that it would start.
    installed = seclude.install(seclude.parse(POLICY, "service.seclude"))
    print(f"confined: {installed.instructions} instructions, default {installed.default}", flush=True)
    serve(listening, None if words else len(requests))


if __name__ == "__main__":
    main(sys.argv[1:])
