"""The socket of a paho client on the event loop, with paho's interface for external event loops.

aiomqtt does this too, but it reads one packet per iteration of the loop, and it adds sockets to the
loop that another thread may have closed.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client

from presenced.sources.mqtt.link import ping_timeout
from presenced.system.loop import in_thread

_PACKETS_PER_TURN = 100
_LONGEST_PING_CHECK = 1.0
_PING_CHECKS = 20  # in one keep-alive


class PahoSocket:
    """Connects a paho client, once, and reads and writes for it until `close`.

    `messages` returns how many messages paho has delivered so far. After the socket was closed,
    `on_failure` is called with an exception of paho, or `on_silence` because no PINGRESP came.
    """

    def __init__(
        self,
        paho: Client,
        messages: Callable[[], int],
        on_failure: Callable[[str, Exception], None],
        on_silence: Callable[[], None],
    ) -> None:
        self._paho = paho
        self._messages = messages
        self._on_failure = on_failure
        self._on_silence = on_silence
        self._loop = asyncio.get_running_loop()
        self._pinging: asyncio.Task[None] | None = None
        self._last_read = 0.0
        self._on_the_loop = False
        self._connecting = False
        self._closed = False
        paho.on_socket_open = None
        paho.on_socket_close = self._on_close
        paho.on_socket_register_write = self._on_register_write
        paho.on_socket_unregister_write = self._on_unregister_write

    async def open(self, connect: Callable[[], Any]) -> None:
        """Run paho's `connect`, which blocks until TLS is negotiated, then send its CONNECT.

        Raises OSError. After `close` no CONNECT is sent, because it would end the next connection
        with this client ID.
        """

        def work() -> None:
            try:
                connect()
            finally:
                self._connecting = False
                if self._closed and (sock := self._paho.socket()) is not None:
                    sock.close()

        self._connecting = True
        await in_thread(work, name="mqtt connect")
        sock: Any = self._paho.socket()
        self._on_the_loop = True
        self._loop.add_reader(sock, self._read)
        self._loop.add_writer(sock, self._write)

    def keep_alive(self) -> None:
        """Begin to probe the connection when it is silent; called at the CONNACK."""
        # Not options.keep_alive, because a CONNACK of MQTT 5 may set another.
        if keep_alive := self._paho.keepalive:
            self._pinging = self._loop.create_task(self._ping(keep_alive))

    def close(self) -> None:
        """Close the socket in any state."""
        self._closed = True
        sock = self._paho.socket()
        if sock is not None and not self._connecting:  # else the thread closes it
            self._on_close(None, None, sock)
            sock.close()

    def _on_close(self, _client: Any, _userdata: Any, sock: Any) -> None:
        if self._pinging is not None:
            self._pinging.cancel()
        if self._on_the_loop and sock.fileno() >= 0:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)

    def _on_register_write(self, _client: Any, _userdata: Any, sock: Any) -> None:
        if self._on_the_loop:  # else it is the thread's CONNECT, which `open` sends
            self._loop.add_writer(sock, self._write)

    def _on_unregister_write(self, _client: Any, _userdata: Any, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock)

    async def _ping(self, keep_alive: float) -> None:
        """Have paho send PINGREQ after a keep-alive of silence, and check for an answer.

        paho itself would wait for the PINGRESP for another keep-alive.
        """
        check_every = min(_LONGEST_PING_CHECK, keep_alive / _PING_CHECKS)
        limit = keep_alive + ping_timeout(keep_alive)
        try:
            while self._paho.loop_misc() == MQTT_ERR_SUCCESS:
                left = self._last_read + limit - self._loop.time()
                if left <= 0:
                    self.close()
                    self._on_silence()
                    return
                await asyncio.sleep(min(check_every, left))
        except Exception as error:  # noqa: BLE001 - reported; the connection cannot be used any more
            self._fail("ping", error)

    def _read(self) -> None:
        """Read up to 100 packets: paho reads one per call."""
        if self._closed:
            return
        self._last_read = self._loop.time()
        try:
            for _ in range(_PACKETS_PER_TURN):
                before = self._messages()
                self._paho.loop_read()
                if self._messages() == before and not self._decrypted():
                    return
        except Exception as error:  # noqa: BLE001 - reported; the connection cannot be used any more
            self._fail("read", error)
            return
        if self._decrypted():  # the selector does not see these bytes
            self._loop.call_soon(self._read)

    def _write(self) -> None:
        try:
            self._paho.loop_write()
        except Exception as error:  # noqa: BLE001 - reported; the connection cannot be used any more
            self._fail("write", error)

    def _decrypted(self) -> int:
        """Return how many bytes TLS has decrypted and paho has not read yet."""
        sock = self._paho.socket()
        return sock.pending() if isinstance(sock, ssl.SSLSocket) else 0

    def _fail(self, where: str, error: Exception) -> None:
        self.close()
        self._on_failure(where, error)
