"""A network of one's own: a loopback that nobody outside can reach.

Some of the targets listen on every address and cannot be told otherwise, and each forwards what it is sent. Entered
once, by the benchmark's own process, after everything is downloaded. Sources: network_namespaces(7), netdevice(7).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWUSER = 0x10000000  # include/uapi/linux/sched.h
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914  # include/uapi/linux/sockios.h
IFF_UP = 0x1


def enter() -> bool:
    """False where the machine does not allow it; the process is then where it was."""
    # Without root, a new user namespace gives the right to make a network.
    flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWUSER | CLONE_NEWNET
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    return True
