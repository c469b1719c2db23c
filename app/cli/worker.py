"""Where a worker of `fileroom serve` begins. It imports for seconds, so this makes that quick: no
garbage is collected meanwhile, and optional parts of libraries that no server uses are left out."""

import gc
import sys

UNUSED = ("rich", "gdcm", "requests")
"""For tracebacks in colour, for decoding (the codecs' processes do that), for downloads."""


def main() -> None:
    """Serve the application that the first argument names."""
    gc.disable()
    from app.cli.counts import reserve_counts  # noqa: PLC0415 - only now

    reserve_counts()  # before `prometheus_client` is imported, which looks for them once
    for name in UNUSED:
        sys.modules[name] = None  # type: ignore[assignment]
    from app.cli.asgi_server import serve_orders  # noqa: PLC0415 - only now
    from app.cli.ending import end  # noqa: PLC0415 - only now

    serve_orders(sys.argv[1])
    end(0)


if __name__ == "__main__":
    main()
