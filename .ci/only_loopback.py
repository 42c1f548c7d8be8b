"""Proves that 127.0.0.1 can be reached from here, and no other address."""

import errno
import socket
import sys

with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname(), timeout=5).close()

try:
    socket.create_connection(("192.0.2.1", 80), timeout=2).close()  # TEST-NET-1, nobody's
except OSError as refusal:
    # Refused or timed out, somebody else may have said no; unreachable, nothing was sent.
    if refusal.errno != errno.ENETUNREACH:
        sys.exit(f"packets to another address are sent: {refusal}")
    print("127.0.0.1 is all there is")
else:
    sys.exit("another address answered")
