"""mount(8)'s options as flags."""

from orlop.kernel import syscalls as sys
from orlop.kernel.mounts import FLAGS, Options


def test_flags_and_data() -> None:
    options = Options(("nosuid", "ro", "size=5m", "mode=1777", "strictatime", "nofail", ""))
    assert options.flags == sys.MS_NOSUID | sys.MS_RDONLY | sys.MS_STRICTATIME
    assert options.data == "size=5m,mode=1777"


def test_the_last_of_two_opposites_wins() -> None:
    options = Options(("ro", "noexec", "rw", "exec", "nodev"))
    assert (options.flags, options.clear) == (sys.MS_NODEV, sys.MS_RDONLY | sys.MS_NOEXEC)
    assert options.attributes == [sys.MOUNT_ATTR_NODEV, sys.MOUNT_ATTR_RDONLY | sys.MOUNT_ATTR_NOEXEC]


def test_times_are_one_choice_of_many() -> None:
    assert Options(("noatime",)).attributes == [sys.MOUNT_ATTR_NOATIME, sys.MOUNT_ATTR__ATIME]
    assert Options(("noatime", "relatime")).attributes == [0, sys.MOUNT_ATTR__ATIME]
    assert Options(("strictatime",)).attributes == [sys.MOUNT_ATTR_STRICTATIME, sys.MOUNT_ATTR__ATIME]


def test_recursive_ones_and_propagation() -> None:
    options = Options(("rbind", "rro", "rnosuid", "rslave", "shared"))
    assert options.flags == sys.MS_BIND | sys.MS_REC
    assert options.attributes == [0, 0]
    assert options.recursive_attributes == [sys.MOUNT_ATTR_RDONLY | sys.MOUNT_ATTR_NOSUID, 0]
    assert options.propagation == [sys.MS_SLAVE | sys.MS_REC, sys.MS_SHARED]


def test_each_option_has_its_opposite() -> None:
    both = {(on, off) for on, off in FLAGS.values()}
    one_way = {sys.MS_BIND, sys.MS_BIND | sys.MS_REC, sys.MS_REMOUNT, sys.MS_DIRSYNC}
    assert all((off, on) in both for on, off in both if on not in one_way)
