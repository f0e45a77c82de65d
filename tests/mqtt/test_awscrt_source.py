"""What is peculiar to the awscrt transport."""

import asyncio
from types import SimpleNamespace

from awscrt.exceptions import from_code

from stations import running
from waiting import until

FAILED_HANDSHAKE = SimpleNamespace(connack_packet=None, exception=from_code(1029))


def test_an_attempt_judged_early_is_not_counted_again(broker_of, certificates, monkeypatch):
    # s2n-tls sits out up to 30 s before it tells of a failed handshake.
    monkeypatch.setattr("presenced.mqtt.awscrt_source._LOOK_CLOSER_AFTER", 0.1)
    broker = broker_of(certificates=certificates)

    async def scenario():
        async with running(("awscrt", "5"), broker.port, tls=certificates.wrong_ca) as station:
            await until(station.failures)
            assert station.failures() == {"tls_server_certificate": 1}
            station.source._on_failure(FAILED_HANDSHAKE)
            await asyncio.sleep(0)
            assert station.failures() == {"tls_server_certificate": 1}
            # Another attempt, that fails faster than the closer look comes.
            station.source._on_failure(FAILED_HANDSHAKE)
            await until(lambda: station.failures() == {"tls_server_certificate": 2})

    asyncio.run(scenario())
