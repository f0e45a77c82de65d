"""A subscriber that only counts: `python -m benchmarks.bare_subscriber ID BROKER FILTER PORT`.

It uses awscrt as presenced does, and does nothing in its callback but add one. What it has counted
is read over HTTP at the last port.
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from awscrt import mqtt5


def main() -> None:
    """Subscribe and count until ended."""
    client_id, broker, topics, port = sys.argv[1:]
    count = 0

    def on_publish(_: mqtt5.PublishReceivedData) -> None:
        nonlocal count
        count += 1

    class Handler(BaseHTTPRequestHandler):
        """Tells the count."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"messages {count}\n".encode())

    connected = threading.Event()
    client = mqtt5.Client(
        mqtt5.ClientOptions(
            host_name="127.0.0.1",
            port=int(broker),
            connect_options=mqtt5.ConnectPacket(client_id=client_id, keep_alive_interval_sec=30),
            on_publish_callback_fn=on_publish,
            on_lifecycle_event_connection_success_fn=lambda _: connected.set(),
        )
    )
    client.start()  # type: ignore[no-untyped-call]
    connected.wait()
    client.subscribe(
        mqtt5.SubscribePacket([mqtt5.Subscription(topics, qos=mqtt5.QoS.AT_MOST_ONCE)])
    ).result(10)
    HTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
