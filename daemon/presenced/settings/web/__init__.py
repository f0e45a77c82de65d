"""The web configuration file: how the listener is protected, as Prometheus's exporters write it.

The format is that of the Prometheus exporter toolkit (docs/web-configuration.md there). A key that
presenced cannot honour is refused by name and never left without effect.
"""

from presenced.settings.web.file import read_web_config
from presenced.settings.web.model import HttpServerConfig, RateLimit, WebConfig
from presenced.settings.web.tls import TlsServerConfig

__all__ = ["HttpServerConfig", "RateLimit", "TlsServerConfig", "WebConfig", "read_web_config"]
