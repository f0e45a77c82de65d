"""The daemon's configuration file for the embedded broker."""

import json

from presenced.emulator.breakdown import ATTRIBUTES
from presenced.emulator.certificates import HOST, Certificates

__all__ = ["CLIENT_ID", "configuration"]

CLIENT_ID = "presenced"

TEMPLATE = """\
# Written by `presenced demo` for its embedded broker; it is removed when the demo ends.
mqtt:
  transport: aiomqtt        # the embedded broker speaks MQTT 3.1.1, which awscrt does not
  protocol: "3.1.1"
  endpoint: {endpoint}
  port: {port}
  client_id: {client_id}
  tls:                      # mutual TLS, as with AWS IoT Core, from a throw-away authority
    cert: {cert}
    key: {key}
    ca: {ca}
  connections:
    - ["$aws/events/#"]
  qos: 1
  keep_alive: 30s
  session_expiry: 0s
  max_message_rate: null    # only AWS discards what comes faster than 100 messages a second
presence:
  offline_delay: 5s
metrics:
  listen: {listen}
  thing_attributes: {attributes}
log:
  level: warning
"""


def configuration(certificates: Certificates, *, port: int, listen: str) -> str:
    """Write the file's text for a broker on this port and metrics on this address."""
    pair = certificates.daemon
    values: dict[str, str | tuple[str, ...]] = {
        "endpoint": HOST,
        "client_id": CLIENT_ID,
        "cert": str(pair.cert),
        "key": str(pair.key),
        "ca": str(certificates.ca),
        "listen": listen,
        "attributes": ATTRIBUTES,
    }
    # JSON is YAML, whatever characters a path holds.
    quoted = {name: json.dumps(value) for name, value in values.items()}
    return TEMPLATE.format(port=port, **quoted)
