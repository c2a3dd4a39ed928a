"""Serve the web page until it is stopped."""

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from colorize.app.gradio_app import page
from colorize.inference.colorizer import Colorizer

_LOOPBACK = "127.0.0.1,localhost,::1"
_LAST_PORT = 65535
_CSS = """
.gradio-container {max-width: 1180px !important; margin: 0 auto !important}
footer {display: none !important}
"""


def serve(
    colorizer: Colorizer, host: str = "127.0.0.1", port: int | None = None, megabytes: int = 50
) -> None:
    """Serve the page until it is stopped.

    Args:
        colorizer: the model.
        host: address to listen on; the default admits this machine only.
        port: None takes the first free one from 7860.
        megabytes: the largest upload.

    Raises:
        ValueError: if the port is out of range.
        OSError: if the address cannot be listened on.
    """
    if port is not None and port > _LAST_PORT:
        raise ValueError(f"port must be 1 to {_LAST_PORT}, got {port}")
    address = host if port is None else f"{host}, port {port}"
    message = f"cannot listen on {address}: try another --port or --host"
    try:  # gradio itself would retry for a long time
        family, _, _, _, place = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        socket.create_server(place[:2], family=family).close()
    except OSError as error:
        raise OSError(message) from error
    with (
        tempfile.TemporaryDirectory(prefix="colorize-") as folder,
        # Gradio's copies of photos go with the folder, and it reaches itself without a proxy.
        _environment(
            GRADIO_TEMP_DIR=f"{folder}/uploads",
            NO_PROXY=f"{host},{_LOOPBACK}",
            no_proxy=f"{host},{_LOOPBACK}",
        ),
    ):
        results = Path(folder, "results")
        results.mkdir()
        blocks = page(colorizer, results).queue()
        threads = set(threading.enumerate())
        try:
            _, url, _ = blocks.launch(
                server_name=host,
                server_port=port,
                max_file_size=f"{megabytes}mb",
                allowed_paths=[str(results)],
                share=False,
                ssr_mode=False,
                css=_CSS,
                footer_links=[],
                quiet=True,
                prevent_thread_lock=True,
            )
        except OSError as error:
            raise OSError(message) from error
        print(f"The page is at {url} (stop it with Ctrl-C)", flush=True)
        try:
            blocks.block_thread()
        finally:
            blocks.close(verbose=False)
            # Wait for photos in progress: they would be written after the folder is removed.
            for thread in set(threading.enumerate()) - threads:
                if not thread.daemon:
                    thread.join()


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
