"""What the kernel would answer a target that asks for a listener of its own: EBUSY, but only to a request that is sound.

Libraries ask for impossible things to learn what a kernel can do (``seccomp(SECCOMP_SET_MODE_FILTER, NEW_LISTENER, NULL)`` is EFAULT
where the flag exists). Had they got EBUSY they would take it for something else, so the checks are made here in the kernel's
order: flags, struct sock_fprog, its length, the instructions, their validity. Whether there may be another listener comes last.

What can still go wrong: a full descriptor table (EMFILE) comes before EBUSY in the kernel, and is not known here.

Source: kernel/seccomp.c (seccomp_set_mode_filter, seccomp_prepare_user_filter), net/core/filter.c (bpf_prog_create_from_user).
"""

from __future__ import annotations

import errno
import struct

from seclude.kernel import seccomp
from seclude.supervise.describe import architecture

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.kernel.notify import Notification
    from seclude.kernel.protocol import Kernel

__all__ = ["answer"]

_INSTRUCTION = struct.Struct("=HBBI")
_MOST = 4096  # BPF_MAXINSNS


def answer(kernel: Kernel, call: Notification) -> int:
    """The errno of ``seccomp(SECCOMP_SET_MODE_FILTER, flags with NEW_LISTENER, program)`` while our listener lives."""
    if not seccomp.flag_available(call.args[1] & 0xFFFFFFFF):  # the kernel's own judgement, for its own version
        return errno.EINVAL
    here = architecture(call.arch, call.nr)
    narrow = here is not None and (here.bits == 32 or bool(here.x32_bit))
    form = struct.Struct("=HxxI" if narrow else "=HxxxxxxQ")  # struct sock_fprog
    head = _copy(kernel, call, call.args[2], form.size)
    if isinstance(head, int):
        return head
    length, address = form.unpack(head)
    if not 0 < length <= _MOST or address == 0:
        return errno.EINVAL
    body = _copy(kernel, call, address, length * _INSTRUCTION.size)
    if isinstance(body, int):
        return body
    from seclude.bpf.validator import validate

    return errno.EINVAL if validate(list(_INSTRUCTION.iter_unpack(body))) else errno.EBUSY


def _copy(kernel: Kernel, call: Notification, address: int, size: int) -> bytes | int:
    """``size`` bytes of the target's, or the errno to answer instead."""
    raw = kernel.read(call.pid, address, size) if address else None
    if raw is not None and len(raw) == size:
        return raw
    # A target whose memory we may not read at all: then the request is taken for a sound one.
    return errno.EFAULT if address == 0 or raw is not None or kernel.read(call.pid, call.ip, 1) is not None else errno.EBUSY
