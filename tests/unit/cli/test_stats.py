"""Shares and sums of `stats`, `system df` and `version`."""

from orlop.cli.stats import VIEW, memory_used, processor_share
from orlop.cli.system import info_text, version_text
from orlop.cli.usage import totals

READING = {
    "id": "0123456789abcdef",
    "name": "/web",
    "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
    "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
    "memory_stats": {"usage": 3 << 20, "limit": 1 << 30, "stats": {"total_inactive_file": 1 << 20}},
    "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 5}, "eth1": {"rx_bytes": 500, "tx_bytes": 0}},
    "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 7}, {"op": "write", "value": 8}]},
    "pids_stats": {"current": 3},
}


def test_shares() -> None:
    assert processor_share(READING) == 40.0
    assert processor_share({**READING, "precpu_stats": {"cpu_usage": {"total_usage": 0}}}) > 0
    assert memory_used({"usage": 10, "stats": {"inactive_file": 4}}) == 6
    assert memory_used({"usage": 10, "stats": {"inactive_file": 40}}) == 10
    assert memory_used({}) == 0


def test_a_row() -> None:
    row = {name: field(READING, False) for name, (_, field) in VIEW.fields.items() if name != "Container"}
    assert row == {
        "ID": "0123456789ab",
        "Name": "web",
        "CPUPerc": "40.00%",
        "MemUsage": "2MiB / 1GiB",
        "MemPerc": "0.20%",
        "NetIO": "1.5kB / 5B",
        "BlockIO": "7B / 8B",
        "PIDs": "3",
    }


def test_a_row_before_the_first_reading() -> None:
    assert VIEW.fields["MemUsage"][1]({"id": "x"}, False) == "-- / --"
    assert [VIEW.fields[name][1]({"id": "x"}, False) for name in ("CPUPerc", "MemPerc", "NetIO", "BlockIO", "PIDs")] == [
        "--"
    ] * 5


def test_totals() -> None:
    found = {
        "LayersSize": 100,
        "Images": [{"Size": 60, "SharedSize": 0, "Containers": 1}, {"Size": 40, "SharedSize": 0, "Containers": 0}],
        "Containers": [{"SizeRw": 5, "State": "running"}, {"SizeRw": 5, "State": "exited"}],
        "Volumes": [{"UsageData": {"Size": 8, "RefCount": 0}}],
        "BuildCache": None,
    }
    assert [(row["TotalCount"], row["Active"], row["Size"], row["Reclaimable"]) for row in totals(found)] == [
        ("2", "1", "100B", "40B (40%)"),
        ("2", "1", "10B", "5B (50%)"),
        ("1", "0", "8B", "8B (100%)"),
        ("0", "0", "0B", "0B"),
    ]


def test_version_without_a_server_is_the_clients() -> None:
    client = {"Version": "1", "ApiVersion": "", "Os": "linux", "Arch": "amd64", "Context": "default"}
    assert (
        version_text(client, None)
        == "Client:\n Version:           1\n OS/Arch:           linux/amd64\n Context:           default\n"
    )


def test_info_leaves_out_what_is_not_said() -> None:
    text = info_text(
        {"Containers": 3, "ServerVersion": "1", "SecurityOptions": ["name=seccomp,profile=builtin"], "MemTotal": 1 << 30}
    )
    assert " Containers: 3\n" in text
    assert " Security Options:\n  seccomp\n   Profile: builtin\n" in text
    assert " Total Memory: 1GiB\n" in text
    assert "Kernel Version" not in text
