"""Which image of an index runs on a platform. The order of preference is that of containerd's platforms package (`Only`)."""

from collections.abc import Iterable

from orlop.spec.image import Descriptor, Platform

# What a CPU runs besides its own kind, newest first.
_OLDER_ARM = ("v8", "v7", "v6", "v5")
_DEFAULT_VARIANT = {("arm", ""): "v7", ("arm64", "v8"): "", ("arm64", "8"): "", ("amd64", "v1"): ""}


def normalise(platform: Platform) -> Platform:
    """The same platform with the variant spelled in one way only: amd64/v1 is amd64, arm64/v8 is arm64, arm is arm/v7."""
    variant = platform.variant.lower()
    if platform.architecture == "arm" and variant.isdigit():
        variant = f"v{variant}"
    variant = _DEFAULT_VARIANT.get((platform.architecture, variant), variant)
    return Platform(platform.os.lower(), platform.architecture.lower(), variant, platform.os_version)


def runnable(wanted: Platform) -> tuple[Platform, ...]:
    """What serves someone who wants this platform, best first: older variants, then the 32-bit kind of the same CPU."""
    wanted = normalise(wanted)
    system, kind, variant = wanted.os, wanted.architecture, wanted.variant
    choices = [(kind, variant)]
    if kind == "amd64":
        newest = int(variant[1:]) if variant[1:].isdigit() else 1
        choices += [(kind, f"v{older}") for older in range(newest - 1, 1, -1)]
        choices += [(kind, "")] if variant else []
        choices += [("386", "")]
    elif kind == "arm" and variant in _OLDER_ARM:
        choices += [(kind, older) for older in _OLDER_ARM[_OLDER_ARM.index(variant) + 1 :]]
    elif kind == "arm64":
        choices += [(kind, "")] if variant else []
        choices += [("arm", older) for older in _OLDER_ARM]
    return tuple(Platform(system, architecture, version) for architecture, version in choices)


def matches(candidate: Platform, wanted: Platform) -> bool:
    """Whether something built for `candidate` serves someone who wants `wanted`."""
    there = normalise(candidate)
    return Platform(there.os, there.architecture, there.variant) in runnable(wanted)


def choose(manifests: Iterable[Descriptor], wanted: Platform) -> Descriptor | None:
    """The best of an index's manifests for a platform; an entry that names no platform serves none."""
    named = [(normalise(entry.platform), entry) for entry in manifests if entry.platform]
    for platform in runnable(wanted):
        for there, entry in named:
            if (there.os, there.architecture, there.variant) == (platform.os, platform.architecture, platform.variant):
                return entry
    return None
