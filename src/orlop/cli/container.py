"""The options that describe a container (run and create share them), and the document that the API wants of them."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orlop.cli.command import Arguments
    from orlop.client.documents import Document

OPTIONS = (
    ("add-host", "", "list", "Add a custom host-to-IP mapping (host:ip)"),
    ("annotation", "", "map", "Add an annotation to the container (passed through to the OCI runtime)"),
    ("attach", "a", "list", "Attach to STDIN, STDOUT or STDERR"),
    ("blkio-weight", "", "uint16", "Block IO (relative weight), between 10 and 1000, or 0 to disable"),
    ("blkio-weight-device", "", "list", "Block IO weight (relative device weight)"),
    ("cap-add", "", "list", "Add Linux capabilities"),
    ("cap-drop", "", "list", "Drop Linux capabilities"),
    ("cgroup-parent", "", "string", "Optional parent cgroup for the container"),
    ("cgroupns", "", "string", "Cgroup namespace to use (host|private)"),
    ("cidfile", "", "string", "Write the container ID to the file"),
    ("cpu-period", "", "int", "Limit CPU CFS (Completely Fair Scheduler) period"),
    ("cpu-quota", "", "int", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    ("cpu-rt-period", "", "int", "Limit CPU real-time period in microseconds"),
    ("cpu-rt-runtime", "", "int", "Limit CPU real-time runtime in microseconds"),
    ("cpu-shares", "c", "int", "CPU shares (relative weight)"),
    ("cpus", "", "decimal", "Number of CPUs"),
    ("cpuset-cpus", "", "string", "CPUs in which to allow execution (0-3, 0,1)"),
    ("cpuset-mems", "", "string", "MEMs in which to allow execution (0-3, 0,1)"),
    ("device", "", "list", "Add a host device to the container"),
    ("device-cgroup-rule", "", "list", "Add a rule to the cgroup allowed devices list"),
    ("device-read-bps", "", "list", "Limit read rate (bytes per second) from a device"),
    ("device-read-iops", "", "list", "Limit read rate (IO per second) from a device"),
    ("device-write-bps", "", "list", "Limit write rate (bytes per second) to a device"),
    ("device-write-iops", "", "list", "Limit write rate (IO per second) to a device"),
    ("disable-content-trust", "", "bool=true", "Skip image verification (images are never signed here)"),
    ("dns", "", "list", "Set custom DNS servers"),
    ("dns-option", "", "list", "Set DNS options"),
    ("dns-search", "", "list", "Set custom DNS search domains"),
    ("domainname", "", "string", "Container NIS domain name"),
    ("entrypoint", "", "string", "Overwrite the default ENTRYPOINT of the image"),
    ("env", "e", "list", "Set environment variables"),
    ("env-file", "", "list", "Read in a file of environment variables"),
    ("expose", "", "list", "Expose a port or a range of ports"),
    ("gpus", "", "string", "GPU devices to add to the container ('all' to pass all GPUs)"),
    ("group-add", "", "list", "Add additional groups to join"),
    ("health-cmd", "", "string", "Command to run to check health"),
    ("health-interval", "", "duration", "Time between running the check (ms|s|m|h)"),
    ("health-retries", "", "int", "Consecutive failures needed to report unhealthy"),
    ("health-start-interval", "", "duration", "Time between running the check during the start period (ms|s|m|h)"),
    (
        "health-start-period",
        "",
        "duration",
        "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)",
    ),
    ("health-timeout", "", "duration", "Maximum time to allow one check to run (ms|s|m|h)"),
    ("hostname", "h", "string", "Container host name"),
    ("init", "", "bool", "Run an init inside the container that forwards signals and reaps processes"),
    ("interactive", "i", "bool", "Keep STDIN open even if not attached"),
    ("ip", "", "string", "IPv4 address (e.g., 172.30.100.104)"),
    ("ip6", "", "string", "IPv6 address (e.g., 2001:db8::33)"),
    ("ipc", "", "string", "IPC mode to use"),
    ("isolation", "", "string", 'The wall around it: "process" (namespaces) or "vm" (a virtual machine)'),
    ("label", "l", "list", "Set meta data on a container"),
    ("label-file", "", "list", "Read in a line delimited file of labels"),
    ("link", "", "list", "Add link to another container"),
    ("link-local-ip", "", "list", "Container IPv4/IPv6 link-local addresses"),
    ("log-driver", "", "string", "Logging driver for the container"),
    ("log-opt", "", "list", "Log driver options"),
    ("mac-address", "", "string", "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    ("memory", "m", "bytes", "Memory limit"),
    ("memory-reservation", "", "bytes", "Memory soft limit"),
    ("memory-swap", "", "bytes", "Swap limit equal to memory plus swap: '-1' to enable unlimited swap"),
    ("memory-swappiness", "", "int=-1", "Tune container memory swappiness (0 to 100)"),
    ("mount", "", "mount", "Attach a filesystem mount to the container"),
    ("name", "", "string", "Assign a name to the container"),
    ("network", "", "network", "Connect a container to a network"),
    ("network-alias", "", "list", "Add network-scoped alias for the container"),
    ("no-healthcheck", "", "bool", "Disable any container-specified HEALTHCHECK"),
    ("oom-kill-disable", "", "bool", "Disable OOM Killer"),
    ("oom-score-adj", "", "int", "Tune host's OOM preferences (-1000 to 1000)"),
    ("pid", "", "string", "PID namespace to use"),
    ("pids-limit", "", "int", "Tune container pids limit (set -1 for unlimited)"),
    ("platform", "", "string", "Set platform if server is multi-platform capable"),
    ("privileged", "", "bool", "Give extended privileges to this container"),
    ("publish", "p", "list", "Publish a container's port(s) to the host"),
    ("publish-all", "P", "bool", "Publish all exposed ports to random ports"),
    ("pull", "", "string=missing", 'Pull image before running ("always", "missing", "never")'),
    ("quiet", "q", "bool", "Suppress the pull output"),
    ("read-only", "", "bool", "Mount the container's root filesystem as read only"),
    ("restart", "", "string=no", "Restart policy to apply when a container exits"),
    ("rm", "", "bool", "Automatically remove the container and its associated anonymous volumes when it exits"),
    ("rootfs", "", "string", "Run in this directory of the host instead of an image"),
    ("runtime", "", "string", "Runtime to use for this container"),
    ("security-opt", "", "list", "Security Options"),
    ("shm-size", "", "bytes", "Size of /dev/shm"),
    ("stop-signal", "", "string", "Signal to stop the container"),
    ("stop-timeout", "", "int", "Timeout (in seconds) to stop a container"),
    ("storage-opt", "", "list", "Storage driver options for the container"),
    ("sysctl", "", "map", "Sysctl options"),
    ("tmpfs", "", "list", "Mount a tmpfs directory"),
    ("tty", "t", "bool", "Allocate a pseudo-TTY"),
    ("ulimit", "", "ulimit", "Ulimit options"),
    ("user", "u", "string", "Username or UID (format: <name|uid>[:<group|gid>])"),
    ("userns", "", "string", "User namespace to use"),
    ("uts", "", "string", "UTS namespace to use"),
    ("volume", "v", "list", "Bind mount a volume"),
    ("volume-driver", "", "string", "Optional volume driver for the container"),
    ("volumes-from", "", "list", "Mount volumes from the specified container(s)"),
    ("workdir", "w", "string", "Working directory inside the container"),
)

# Options whose value goes into the document as it is, and where. The order of a document does not matter.
PLACES = {
    "blkio-weight": "HostConfig.BlkioWeight",
    "cgroup-parent": "HostConfig.CgroupParent",
    "cidfile": "HostConfig.ContainerIDFile",
    "cpu-period": "HostConfig.CpuPeriod",
    "cpu-quota": "HostConfig.CpuQuota",
    "cpu-rt-period": "HostConfig.CpuRealtimePeriod",
    "cpu-rt-runtime": "HostConfig.CpuRealtimeRuntime",
    "cpu-shares": "HostConfig.CpuShares",
    "cpus": "HostConfig.NanoCpus",
    "cpuset-cpus": "HostConfig.CpusetCpus",
    "cpuset-mems": "HostConfig.CpusetMems",
    "device-cgroup-rule": "HostConfig.DeviceCgroupRules",
    "dns": "HostConfig.Dns",
    "dns-option": "HostConfig.DnsOptions",
    "dns-search": "HostConfig.DnsSearch",
    "domainname": "Domainname",
    "group-add": "HostConfig.GroupAdd",
    "hostname": "Hostname",
    "init": "HostConfig.Init",
    "ipc": "HostConfig.IpcMode",
    "isolation": "HostConfig.Isolation",
    "link": "HostConfig.Links",
    "log-driver": "HostConfig.LogConfig.Type",
    "memory": "HostConfig.Memory",
    "memory-reservation": "HostConfig.MemoryReservation",
    "memory-swap": "HostConfig.MemorySwap",
    "mount": "HostConfig.Mounts",
    "oom-kill-disable": "HostConfig.OomKillDisable",
    "oom-score-adj": "HostConfig.OomScoreAdj",
    "pids-limit": "HostConfig.PidsLimit",
    "privileged": "HostConfig.Privileged",
    "publish-all": "HostConfig.PublishAllPorts",
    "read-only": "HostConfig.ReadonlyRootfs",
    "rm": "HostConfig.AutoRemove",
    "rootfs": "HostConfig.Rootfs",
    "runtime": "HostConfig.Runtime",
    "shm-size": "HostConfig.ShmSize",
    "stop-signal": "StopSignal",
    "stop-timeout": "StopTimeout",
    "tty": "Tty",
    "ulimit": "HostConfig.Ulimits",
    "user": "User",
    "volume-driver": "HostConfig.VolumeDriver",
    "volumes-from": "HostConfig.VolumesFrom",
    "workdir": "WorkingDir",
}
# Options that say how the command behaves, not what the container is.
BEHAVIOUR = frozenset(
    (
        "attach",
        "detach",
        "detach-keys",
        "disable-content-trust",
        "interactive",
        "name",
        "platform",
        "pull",
        "quiet",
        "sig-proxy",
    )
)


def container_body(arguments: "Arguments") -> "Document":
    """The body of POST /containers/create. Raises ValueError with Docker's words, and UsageError for one option's value."""
    image, command = ("", arguments.words) if "rootfs" in arguments.given else (arguments.words[0], arguments.words[1:])
    attached = [stream.lower() for stream in arguments.many("attach")]
    stdin = arguments.flag("interactive") or "stdin" in attached
    body: Document = {
        "Image": image,
        "AttachStdin": stdin,
        "AttachStdout": not attached or "stdout" in attached,
        "AttachStderr": not attached or "stderr" in attached,
        "OpenStdin": arguments.flag("interactive"),
        "StdinOnce": arguments.flag("interactive"),
        "HostConfig": {"NetworkMode": "default"},
    }
    if command:
        body["Cmd"] = command
    laborious = [name for name in arguments.given if name not in PLACES and name not in BEHAVIOUR]
    for name, value in arguments.given.items():
        if name in PLACES:
            place(body, PLACES[name], value)
    if (
        laborious == ["network"]
        and [list(network) for network in arguments.given["network"]] == [["name"]]
        and not arguments.many("link")
    ):
        place(body, "HostConfig.NetworkMode", arguments.given["network"][0]["name"])
    elif laborious or attached:
        from orlop.cli.details import add_details

        add_details(body, arguments, laborious)
    return body


def place(body: "Document", path: str, value: "Any") -> None:
    """Put a value at "Key" or "Key.Key…" of a document."""
    *parents, last = path.split(".")
    for parent in parents:
        body = body.setdefault(parent, {})
    body[last] = value
