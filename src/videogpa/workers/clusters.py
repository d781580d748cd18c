"""Whether a Ray cluster can be reached.

Where nothing answers, Ray's native code writes its log to the terminal and ends the whole process. So another process tries
first.
"""

import os
import socket
import subprocess
import sys
from functools import cache

from videogpa.errors import UserError

_PATIENCE = 3  # seconds until a machine must have taken a connection
_LIMIT = 15  # seconds for Ray to be imported and connected

_TRY = (
    "import sys; sys.path[:] = filter(None, sys.path); import ray; "  # not from the folder in which the command is called
    "ray.init(address=sys.argv[1], logging_level='ERROR', log_to_driver=False); ray.shutdown()"
)


@cache
def require_cluster(address: str) -> None:
    """Try to connect to a Ray cluster, for less than 20 seconds; once for all stages of a run.

    Args:
        address: HOST:PORT, ray://HOST:PORT, or auto.

    Raises:
        UserError: If there is none; the message names the address.
    """
    advice = "Look with `ray status` whether it runs, or leave out --ray for workers on this machine"
    if address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(f"no Ray cluster at {address}: nothing takes connections there ({reason}). {advice}") from None
    short = {
        name: str(_PATIENCE) for name in ("RAY_gcs_rpc_server_connect_timeout_s", "RAY_gcs_rpc_server_reconnect_timeout_s")
    }
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _TRY, address],
            env={**os.environ, **short, "RAY_USAGE_STATS_ENABLED": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"no Ray cluster at {address}: it did not answer in {_LIMIT} s. {advice}") from None
    if tried.returncode != 0:
        where = (
            "no running Ray cluster was found (--ray auto)"
            if address == "auto"
            else f"what runs at {address} is no Ray cluster"
        )
        raise UserError(f"{where}, or one of another version of Ray. {advice}")
