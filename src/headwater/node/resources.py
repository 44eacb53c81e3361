"""What the node's process uses, and what it may use: the least of machine, group and limits."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from headwater.clock import suspended_clock
from headwater.fleet.records import Resources

_CGROUP = Path("/sys/fs/cgroup")


class Meter:
    """Measures this process. ``data_dir`` is on the disk that is looked at."""

    def __init__(self, data_dir: Path | None, cgroup: Path = _CGROUP) -> None:
        self._process = psutil.Process()
        self._disk = _existing(data_dir or Path.cwd())
        self._cgroup = cgroup
        self._cpu_limit = cpu_limit(cgroup)
        self._last_s = suspended_clock()
        self._last_cpu_s = self._cpu_s()

    def measure(self, *, loop_lag_s: float, broker_rtt_s: float | None, replicas: int) -> Resources:
        """What is used now; CPU since the last time."""
        now_s, cpu_s = suspended_clock(), self._cpu_s()
        cores = (cpu_s - self._last_cpu_s) / max(now_s - self._last_s, 1e-3)
        self._last_s, self._last_cpu_s = now_s, cpu_s
        disk = psutil.disk_usage(str(self._disk))
        return Resources(
            cpu=cores,
            cpu_limit=self._cpu_limit,
            memory_bytes=self._process.memory_info().rss,
            memory_limit_bytes=memory_limit(self._cgroup),
            disk_free_bytes=disk.free,
            disk_total_bytes=disk.total,
            open_files=self._process.num_fds(),
            open_files_limit=_limit(resource.RLIMIT_NOFILE, 1 << 20),
            loop_lag_ms=loop_lag_s * 1000,
            broker_rtt_ms=-1.0 if broker_rtt_s is None else broker_rtt_s * 1000,
            replicas=replicas,
        )

    def memory_used(self) -> float:
        """The part of its memory that the process uses."""
        return float(self._process.memory_info().rss / max(1, memory_limit(self._cgroup)))

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def memory_limit(cgroup: Path = _CGROUP) -> int:
    """Bytes that this process may use."""
    limits = [psutil.virtual_memory().total, _limit(resource.RLIMIT_AS, 1 << 62)]
    for group in groups(cgroup, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(group / name)
            if text.isdigit():
                limits.append(int(text))
    return int(min(limits))


def cpu_limit(cgroup: Path = _CGROUP) -> float:
    """Cores that this process may use."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0)
    cores = cores or float(os.cpu_count() or 1)
    for group in groups(cgroup, "cpu"):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        quota = quota or _read(group / "cpu.cfs_quota_us")
        period = period or _read(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            cores = min(cores, int(quota) / int(period))
    return cores


def groups(root: Path, controller: str, own: Path = Path("/proc/self/cgroup")) -> Iterator[Path]:
    """The control groups whose limits hold for this process, its own and those above, in both of
    the kernel's layouts.
    """
    for line in _read(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        group = base / path.strip("/")
        yield from (each for each in (group, *group.parents) if each.is_relative_to(base))
    yield from (root, root / controller)


def _limit(which: int, without: int) -> int:
    soft = resource.getrlimit(which)[0]
    return without if soft == resource.RLIM_INFINITY else soft


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
