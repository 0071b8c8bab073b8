"""All benchmarks, one after the other."""

from __future__ import annotations

from tests.bench import lossy_link, pool, socket_bridge, start_up, throughput, websocket_library


def main() -> None:
    """Run them all; each alone is ``python -m tests.bench.NAME``."""
    for benchmark in (start_up, throughput, pool, lossy_link, websocket_library, socket_bridge):
        benchmark.main()


if __name__ == "__main__":
    main()
