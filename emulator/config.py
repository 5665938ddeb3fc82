"""What one emulator is set up with: keys, strictness and limits. Every strictness can be switched off.

Source: contract section 8 (what a faithful local emulator must do) and 4.3 (limits). The key and the port are the ones
people know from the vendor's own emulator, so a connection string they have lying about works.
"""

from dataclasses import dataclass, field

WELL_KNOWN_KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
WELL_KNOWN_PORT = 8888
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EmulatorConfig:
    """The set-up of one emulator. Durations are seconds, sizes are bytes.

    `keys` are the access keys in force, primary first (it signs what `:generateToken` gives). `endpoint` is the URL of
    the connection string: its host is accepted in audiences besides the one the caller names in `Host`.
    `entra_tokens` are opaque bearer tokens taken as Entra ID tokens by every REST route. `execute` tells whether
    `:execute` exists.
    """

    keys: tuple[str, ...] = field(default=(WELL_KNOWN_KEY,), repr=False)
    endpoint: str = "http://localhost"
    entra_tokens: tuple[str, ...] = field(default=(), repr=False)
    execute: bool = True

    # Strictness
    check_signature: bool = True
    check_audience: bool = True
    check_expiry: bool = True
    check_api_version: bool = True
    expiry_skew: float = 5.0

    # Limits of the REST side
    max_body: int = MIB
    max_uri: int = 12 * 1024
    max_headers: int = 16 * 1024
    max_token: int = 4096
    invoke_timeout: float = 10.0
    temporary_key_lifetime: float = 90 * 60.0

    # Clients
    max_connections: int = 0  # 0 = no quota
    negotiated_id_lifetime: float = 5.0
    handshake_timeout: float = 15.0
    ping_after: float = 15.0
    silence_limit: float = 30.0
    poll_timeout: float = 90.0
    max_unread_frames: int = 1_000_000

    # The journal
    journal_entries: int = 200_000
    journal_bytes: int = 256 * MIB


def connection_string(port: int = WELL_KNOWN_PORT, key: str = WELL_KNOWN_KEY) -> str:
    """Give what a caller puts into `AzureSignalRConnectionString` to reach an emulator on this machine."""
    return f"Endpoint=http://localhost;Port={port};AccessKey={key};Version=1.0;"
