"""Load on loopback: throughput, latency, errors and memory of `rootspace serve`.

    python benchmarks/serving.py runs/demo --minutes 10

Clients, each a thread of this process, send one image after another over a connection of their own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import torch
from _common import machine

from rootspace._terminal import table


@dataclass
class Load:
    """What some clients saw.

    Attributes:
        seconds: of each answer that was right.
        errors: what was no answer.
        memory: MB of the server, every few seconds.
    """

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder with samples")
    parser.add_argument("--onnx", type=Path, help="serve this file of it instead")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--minutes", type=float, default=10.0, help="for each number of clients")
    options = parser.parse_args()
    images = [path.read_bytes() for path in sorted((options.run / "samples").glob("*.png"))]
    if not images:
        parser.error(f"{options.run} has no images in its folder 'samples'")
    source = options.run if options.onnx is None else options.onnx
    command = [sys.executable, "-m", "rootspace", "serve", str(source), "--port", "0"]
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            measure(url, server.pid, images, 4, 5.0)  # warm
            for clients in options.clients:
                load = measure(url, server.pid, images, clients, 60 * options.minutes)
                rows.append(row(clients, load, 60 * options.minutes))
        finally:
            server.terminate()
    print(machine(torch.get_num_threads()))
    print(table(HEADER, rows))


HEADER = [
    "clients",
    "images/s",
    "p50 ms",
    "p99 ms",
    "answers",
    "errors",
    "MB after 10 %",
    "MB at the end",
]


def row(clients: int, load: Load, seconds: float) -> list[str]:
    """A line of the table."""
    if not load.seconds:
        raise SystemExit(f"No request was answered: {load.errors[:1]}")
    p50, p99 = np.percentile(load.seconds, [50, 99]) * 1e3
    early = load.memory[len(load.memory) // 10]
    return [
        f"{clients}",
        f"{len(load.seconds) / seconds:.0f}",
        f"{p50:.1f}",
        f"{p99:.1f}",
        f"{len(load.seconds):,}",
        f"{len(load.errors)}",
        f"{early:.0f}",
        f"{load.memory[-1]:.0f}",
    ]


def measure(url: str, pid: int, images: list[bytes], clients: int, seconds: float) -> Load:
    """Ask from several threads for some time."""
    load, end = Load(), time.monotonic() + seconds

    def ask(number: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            turn = number
            while time.monotonic() < end:
                files = {"images": ("a.png", images[turn % len(images)])}
                began = time.perf_counter()
                try:
                    response = client.post("/v1/predict", files=files)
                    if response.status_code == 200:
                        load.seconds.append(time.perf_counter() - began)
                    else:
                        load.errors.append(response.text)
                except httpx.HTTPError as error:
                    load.errors.append(repr(error))
                turn += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        load.memory.append(memory(pid))
        time.sleep(min(2.0, seconds / 20))
    return load


def memory(pid: int) -> float:
    """Resident memory of a process in MB; Linux."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    main()
