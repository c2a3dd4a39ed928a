"""The web page that colorizes photos in a browser; it needs the extra `demo`."""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads it when it is imported
try:
    import gradio  # noqa: F401
except ImportError as error:
    raise ImportError(f"{error}: pip install 'colorize-photos[demo]'") from error
