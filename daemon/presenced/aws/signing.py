"""Signatures of requests to AWS (Signature Version 4), by the AWS Common Runtime.

The runtime's own log must stay off: at level info it has each request, with its session token.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import datetime
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from awscrt import auth, http, io

from presenced import __version__

WEBSOCKET_PATH = "/mqtt"
"""Where AWS IoT Core speaks MQTT over WebSocket."""

_USER_AGENT = f"presenced/{__version__}"


async def signed_headers(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    signer: Any,
    region: str,
    service: str,
    date: datetime,
) -> Mapping[str, str]:
    """Return all headers of a request: the given ones and others signed, the signature, the agent.

    `url` is percent-encoded. `signer` is a credentials provider of the runtime. `date` has a zone.
    Raises AwsCrtError if the provider fails.
    """
    parts = urlsplit(url)
    request: Any = http.HttpRequest(
        method,
        f"{parts.path}?{parts.query}" if parts.query else parts.path,
        http.HttpHeaders([("Host", parts.netloc), *headers.items()]),
        io.InputStream(BytesIO(body)) if body is not None else None,  # type: ignore[no-untyped-call]
    )
    config = auth.AwsSigningConfig(  # type: ignore[no-untyped-call]
        credentials_provider=signer, region=region, service=service, date=date
    )
    future = asyncio.wrap_future(auth.aws_sign_request(request, config))  # type: ignore[no-untyped-call]
    # Shielded: a cancelled future would raise in the library's thread.
    signed = await asyncio.shield(future)
    return {**dict(signed.headers), "User-Agent": _USER_AGENT}


async def presigned_url(
    url: str, *, signer: Any, region: str, service: str, date: datetime, expires: int
) -> str:
    """Return the URL of a GET request with its signature in the query, valid for some seconds.

    `url`, `signer` and `date` are those of `signed_headers`. Raises AwsCrtError if the provider
    fails.
    """
    parts = urlsplit(url)
    request: Any = http.HttpRequest(
        "GET", f"{parts.path}?{parts.query}", http.HttpHeaders([("Host", parts.netloc)])
    )
    config = auth.AwsSigningConfig(  # type: ignore[no-untyped-call]
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        credentials_provider=signer,
        region=region,
        service=service,
        date=date,
        expiration_in_seconds=expires,
    )
    future = asyncio.wrap_future(auth.aws_sign_request(request, config))  # type: ignore[no-untyped-call]
    # Shielded: a cancelled future would raise in the library's thread.
    signed = await asyncio.shield(future)
    return f"{parts.scheme}://{parts.netloc}{signed.path}"


def sign_handshake(request: Any, *, signer: Any, region: str) -> Future[Any]:
    """Sign the handshake of MQTT over WebSocket with AWS IoT Core, in the query of the request.

    `request` is one of the runtime, changed when the future is done; `signer` is that of
    `signed_headers`. The session token is appended after signing ("Device communication protocols"
    in the AWS IoT developer guide).
    """
    config = auth.AwsSigningConfig(  # type: ignore[no-untyped-call]
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        credentials_provider=signer,
        region=region,
        service="iotdevicegateway",
        omit_session_token=True,
    )
    future: Future[Any] = auth.aws_sign_request(request, config)  # type: ignore[no-untyped-call]
    return future


def signed_handshake(host: str, *, signer: Any, region: str) -> str:
    """Return path and query of the handshake with a host; blocks.

    Raises AwsCrtError if the provider fails.
    """
    request: Any = http.HttpRequest("GET", WEBSOCKET_PATH, http.HttpHeaders([("Host", host)]))
    path: str = sign_handshake(request, signer=signer, region=region).result().path
    return path
