"""The configuration of one emulator: keys, checks, limits, and the differences of the vendor's own emulator.

By default the emulator behaves like the service. `LIKE_ASRS_EMULATOR` behaves like the vendor's local emulator, which
differs from the service, so that what is used with that one can be tested here. Key and port are its key and port, so
a connection string for that one works here too. Source: docs/sources.md, emulator and limits; docs/emulator.md.
"""

from dataclasses import dataclass, field

WELL_KNOWN_KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
WELL_KNOWN_PORT = 8888
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EmulatorConfig:
    """The configuration of one emulator. Durations are seconds, sizes are bytes.

    `keys` are the access keys in force. The first is the primary key, which signs the tokens of `:generateToken`.
    `endpoint` is the URL of the connection string; its host is accepted in audiences besides that of the Host header.
    `entra_tokens` are bearer tokens that every REST route accepts as Entra ID tokens. `execute` decides whether
    `:execute` exists.
    """

    keys: tuple[str, ...] = field(default=(WELL_KNOWN_KEY,), repr=False)
    endpoint: str = "http://localhost"
    entra_tokens: tuple[str, ...] = field(default=(), repr=False)
    execute: bool = True

    # Checks
    check_signature: bool = True
    check_audience: bool = True
    check_expiry: bool = True
    check_api_version: bool = True
    expiry_skew: float = 5.0

    # What the service does, and the vendor's emulator does not
    decode_slashes: bool = True  # an id sent as `a%2Fb` is the id `a/b`
    error_codes: bool = True  # a 404 that is an answer has `x-ms-error-code`
    encoded_bodies: bool = True  # application/octet-stream is accepted
    keep_arguments: bool = True  # arguments reach JSON clients byte for byte
    open_health: bool = True  # health needs no token
    unknown_users: bool = True  # a user without connections and groups can be removed from all groups

    # Limits of the REST API
    max_body: int = MIB
    max_uri: int = 12 * 1024
    max_headers: int = 16 * 1024
    max_token: int = 4096
    invoke_timeout: float = 10.0
    temporary_key_lifetime: float = 90 * 60.0

    # Clients
    max_connections: int = 0  # 0: no quota
    negotiated_id_lifetime: float = 5.0
    handshake_timeout: float = 15.0
    ping_after: float = 15.0
    silence_limit: float = 30.0
    poll_timeout: float = 90.0
    max_unread_frames: int = 1_000_000

    # The journal
    journal_entries: int = 200_000
    journal_bytes: int = 256 * MIB


LIKE_ASRS_EMULATOR = EmulatorConfig(
    execute=False,
    check_audience=False,
    check_expiry=False,
    decode_slashes=False,
    error_codes=False,
    encoded_bodies=False,
    keep_arguments=False,
    open_health=False,
    unknown_users=False,
)


def connection_string(port: int = WELL_KNOWN_PORT, key: str = WELL_KNOWN_KEY) -> str:
    """Return the value of `AzureSignalRConnectionString` for an emulator on this machine."""
    return f"Endpoint=http://localhost;Port={port};AccessKey={key};Version=1.0;"
