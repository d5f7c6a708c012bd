"""Which place each call has in the picture: every call in exactly one family, families in four tiers by what they are worth to an attacker.

The groups of policies overlap, as is useful there; a picture needs each call once. So families are tried in the order below, the powerful ones
first, and a call belongs to the first that has it. The tier says what a permitted call can be used for at its worst, arguments left aside:
a reader looks for filled cells at the top.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from seclude.policy.groups import GROUPS

__all__ = ["FAMILIES", "OTHERS", "TIERS", "Family", "Tier", "family_of"]


class Tier(NamedTuple):
    """How much power the calls of a tier give: ``key`` for identifiers, a title and a sentence for people."""

    key: str
    title: str
    about: str


class Family(NamedTuple):
    """Calls that are shown together: ``groups`` are names of policy groups (``@mount``) and of single calls."""

    key: str
    title: str
    tier: int
    groups: tuple[str, ...]


TIERS = (
    Tier("machine", "Rules the machine", "the kernel's code, its devices, mounts and clock; most need a capability"),
    Tier("escape", "Reaches beyond the process", "other processes, namespaces, and operations that no filter sees"),
    Tier("effects", "Has effects outside", "files, sockets, programs, signals: what most programs are for"),
    Tier("ordinary", "Ordinary", "its own memory, time, descriptors and what is open already"),
)


def _family(title: str, tier: int, groups: str) -> Family:
    return Family(title.lower().replace(" ", "-").replace(",", ""), title, tier, tuple(groups.split()))


#: in the order in which a call looks for its family
FAMILIES = (
    _family("Kernel modules", 0, "@module"),
    _family("Kernel programs and probes", 0, "@kernel lookup_dcookie"),
    _family("Reboot and swap", 0, "@reboot @swap"),
    _family("Mounts and roots", 0, "@mount open_tree open_tree_attr fsopen fspick fsmount fsconfig move_mount quotactl quotactl_fd"),
    _family("Hardware and processor modes", 0, "@raw-io @cpu-emulation @architecture"),
    _family("System clock", 0, "@clock stime"),
    _family("System settings", 0, "acct vhangup sethostname setdomainname nfsservctl fanotify_init _sysctl"),
    _family("Other processes", 1, "@other-processes migrate_pages move_pages"),
    _family("Namespaces", 1, "@namespaces clone clone3"),
    _family("Calls inside calls", 1, "@multiplexers @io-uring"),
    _family("Key rings", 1, "@keyring"),
    _family("Files by handle, device files", 1, "@handles @devices"),
    _family("Identity and capabilities", 1, "@credentials"),
    _family("Driver requests and process switches", 1, "ioctl prctl personality"),
    _family("Sockets", 2, "@sockets"),
    _family("Programs and processes", 2, "@exec @fork"),
    _family("Signals to others", 2, "@send-signals"),
    _family("Opening files", 2, "@files-open"),
    _family("Changing files", 2, "@files-write @file-flags"),
    _family("System V and POSIX queues", 2, "@sysv"),
    _family("Watching files", 2, "@watch fanotify_mark"),
    _family("Priorities and limits", 2, "@schedule @limits set_mempolicy mbind set_mempolicy_home_node get_mempolicy"),
    _family("Base", 3, "@base"),
    _family("Memory", 3, "@memory @pkey @memlock @secret-memory"),
    _family("Reading and writing", 3, "@io"),
    _family("Descriptors and events", 3, "@descriptors @io-event @libaio vmsplice"),
    _family("Looking at files", 3, "@files-read @mount-info"),
    _family("Handling signals", 3, "@signals"),
    _family("Timers", 3, "@timer @time-slice"),
    _family("Sessions", 3, "@sessions"),
    _family("Confining itself", 3, "@sandbox @lsm"),
    _family("Old forms", 3, "@legacy @obsolete"),
)
#: what no family has: a call newer than the groups, or of one architecture only
OTHERS = Family("others", "Others", 3, ())


@cache
def _index() -> dict[str, Family]:
    found: dict[str, Family] = {}
    for family in FAMILIES:
        for name in family.groups:
            for call in GROUPS[name].calls if name.startswith("@") else (name,):
                found.setdefault(call, family)
    return found


def family_of(call: str) -> Family:
    """The one family of a call, `OTHERS` where it has none."""
    return _index().get(call, OTHERS)
