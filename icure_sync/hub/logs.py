"""What the HTTP library may log through us: where it failed, never what a client sent. Knows no endpoint.

Its messages for malformed requests quote them, header lines with credentials included.
"""

from __future__ import annotations

import logging
import traceback

HTTP_LOG = "icure_sync.hub.http"


class _Discretion(logging.Filter):
    """Takes the text of exceptions out of records; their kind and where they were raised stay."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
            kind, _, trace = record.exc_info
            record.exc_text = "".join(traceback.format_tb(trace)) + kind.__name__
            record.exc_info = None
        return True


_DISCRETION = _Discretion()


def http_logger() -> logging.Logger:
    """The logger to hand to the HTTP library."""
    logger = logging.getLogger(HTTP_LOG)
    logger.addFilter(_DISCRETION)  # once, however often it is added
    return logger
