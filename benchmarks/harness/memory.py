"""Peak memory of one way, in a process of its own.

    python -m benchmarks.harness.memory '["vgg11", "S1", "plain", "cpu", null, null]'

prints the bytes that weights, data and calls took at most, over what the process held when it had done the
same once and let go of it: imports, and code that came in on the way, do not count. On the CPU it is resident
memory, on CUDA what torch allocated. The last two arguments: image size and batch, if not the network's own.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.harness.networks import NETWORKS, Network, Problem
from benchmarks.harness.ways import STATISTICS, Way

CALLS = 2  # the second meets what the first left
# glibc keeps freed memory by thresholds that it adapts to the sizes it has seen: peaks would depend on those.
# With fixed thresholds freed memory goes back at once: what is resident is what is in use.
FIXED_THRESHOLDS = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_TOP_PAD_": "0",
    "MALLOC_ARENA_MAX": "1",
}
# glibc gives large freed blocks back to the system and faults them in again with each call: what that costs
# depends on the order of sizes and is no way's own. When times are measured, memory is kept.
KEPT_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**36), "MALLOC_MMAP_THRESHOLD_": str(2**36)}


def keep_freed_memory(module: str) -> None:
    """Start `python -m module` anew with the same arguments in place of this process, which keeps no memory.

    Returns at once in a process that does: the thresholds are read when one starts.
    """
    if not KEPT_MEMORY.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], os.environ | KEPT_MEMORY)


def peak_in_a_process(
    network: str, statistic: str, way: str, device: str, image_size: int | None, batch_size: int | None
) -> int:
    """Bytes at the peak. Raises `RuntimeError` with the last line of what the process said if it fails."""
    arguments = json.dumps([network, statistic, way, device, image_size, batch_size])
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.harness.memory", arguments],
        env=os.environ | FIXED_THRESHOLDS,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        last = (finished.stderr.strip() or f"exit status {finished.returncode}").splitlines()[-1]
        raise RuntimeError(last)
    return int(finished.stdout.split()[-1])


def main() -> None:
    """Measure what the command line names."""
    torch.set_num_threads(1)
    key, statistic, way, device, image_size, batch_size = json.loads(sys.argv[1])
    network = NETWORKS[key].resized(image_size, batch_size)
    print(peak_of(STATISTICS[statistic].ways[way], network, device))


def peak_of(way: Way, network: Network, device: str) -> int:
    """Bytes at the peak, in this process."""
    _use(way, network, device)
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _use(way, network, device)
        return torch.cuda.max_memory_allocated() - before
    _release_freed()
    _reset_peak()
    before = _status("VmRSS")
    _use(way, network, device)
    return _status("VmHWM") - before


def _use(way: Way, network: Network, device: str) -> None:
    run = way.prepare(Problem.of(network, device))
    for _ in range(CALLS):
        run()


def _release_freed() -> None:
    ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> None:
    """Linux: 5 sets VmHWM to what is resident now (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    """Bytes of a field of /proc/self/status, which is in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: peak memory is measured on Linux only.")


if __name__ == "__main__":
    main()
