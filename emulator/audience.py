"""Which audiences a token may name for a request. Pure.

Source: contract 3.1 (REST) and 3.4 (clients). The documented form is the URL of the request without its query; older
SDKs append `application` and `api-version` and leave the port out. The host is the one the caller reached us by
(`Host`), or the one of the configured Endpoint. The path counts as it is on the wire: an audience escaped otherwise
than the request line is another audience.
"""

from urllib.parse import urlsplit

from emulator.exchange import Call


def origins_of(url: str) -> tuple[str, ...]:
    """Give `scheme://host:port` and `scheme://host` of a URL, lower case, without repeats."""
    parts = urlsplit(url.lower())
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return tuple(dict.fromkeys((f"{parts.scheme}://{parts.netloc}", f"{parts.scheme}://{host}")))


def _origins(call: Call, endpoint: tuple[str, ...]) -> dict[str, None]:
    host = call.header(b"host").lower()
    bare = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    own = (f"{call.scheme}://{host}", f"{call.scheme}://{bare}") if host else ()
    return dict.fromkeys((*own, *endpoint))


def rest_audiences(call: Call, endpoint: tuple[str, ...]) -> set[str]:
    """List what the token of a REST call may name; `endpoint` are the origins of the configured Endpoint."""
    suffixes = ["", _old_query(call.raw_query)]
    return {origin + call.raw_path + suffix for origin in _origins(call, endpoint) for suffix in suffixes}


def client_audiences(call: Call, endpoint: tuple[str, ...]) -> set[str]:
    """List what the token of a client may name; the hub counts as written and in lower case."""
    hub = call.parameter("hub")
    return {
        f"{origin}/client{slash}?hub={name}"
        for origin in _origins(call, endpoint)
        for slash in ("/", "")
        for name in (hub, hub.lower())
    }


def client_audience(call: Call, hub: str) -> str:
    """Name the audience of a client token that is made for whoever makes `call`."""
    return f"{call.scheme}://{call.header(b'host').lower()}/client/?hub={hub}"


def _old_query(raw_query: str) -> str:
    parts = raw_query.split("&")
    kept = [part for name in ("application=", "api-version=") for part in parts if part.startswith(name)]
    return "?" + "&".join(kept) if kept else ""
