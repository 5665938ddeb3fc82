"""nginx in front of a sink: the same server plain and with TLS, for the rows that compare the two.

Rules guarded: both ways go through the same program, so what differs is what TLS costs the caller. One port of each
kind answers by itself, for bare loops; one of each hands on to the sink, which counts, for whole services.
"""

import asyncio
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.rig import BenchError, Child, Rig, free_port

_WITHIN = 10.0
_CONFIG = """
daemon off; master_process off; pid {root}/pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s; client_max_body_size 2m;
  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/cert.pem;
  upstream sink {{ server 127.0.0.1:{sink}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{plain} backlog=4096; listen 127.0.0.1:{tls} ssl backlog=4096; return 202; }}
  server {{
    listen 127.0.0.1:{sink_plain} backlog=4096; listen 127.0.0.1:{sink_tls} ssl backlog=4096;
    location / {{ proxy_pass http://sink; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Front:
    """One nginx: its ports, and the file of the authority that signed its certificate."""

    child: Child
    plain: int
    tls: int
    sink_plain: int
    sink_tls: int
    authority: Path

    @classmethod
    async def start(cls, rig: Rig, sink_port: int) -> Self:
        """Start one in front of the sink on this port."""
        import trustme  # noqa: PLC0415 - only where TLS is wanted

        root = rig.directory / f"front-{sink_port}"
        root.mkdir()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(root / "ca.pem"))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(root / "cert.pem"))
        ports = {name: free_port() for name in ("plain", "tls", "sink_plain", "sink_tls")}
        config = root / "nginx.conf"
        config.write_text(_CONFIG.format(root=root, sink=sink_port, **ports))
        child = await rig.start("nginx", ["nginx", "-p", str(root), "-c", str(config), "-e", "stderr"])
        await _listening(child, ports["sink_tls"])
        return cls(child, authority=root / "ca.pem", **ports)


def is_available() -> bool:
    """Return whether nginx is installed; without it the rows that need it are left out."""
    return shutil.which("nginx") is not None


async def _listening(child: Child, port: int) -> None:
    deadline = time.monotonic() + _WITHIN
    while time.monotonic() < deadline:
        child.check()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
    raise BenchError(f"nginx does not listen:\n{child.tail()}")
