"""Imported by every Python that finds it on its path: outgoing connections are refused and written
down.

Loopback and sockets of the file system pass, and so does looking up the names of this machine. Each
process leaves `process PID COMMAND` in the file OFFLINE_RECORD, `refused PID EVENT TARGET FRAMES`
for what it tried, and `unwatched PID COMMAND` for a Python that it started without this file on its
path, as DVC does when it reports. It sees what Python's own sockets do; libraries of C that call
the kernel themselves are left to an empty network namespace.
"""

import ipaddress
import os
import socket
import sys
import traceback

RECORD = os.environ["OFFLINE_RECORD"]
# Where the target stands among the arguments of an audit event.
EVENTS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}
OURS = {"", "localhost", "localhost.localdomain", socket.gethostname()}


def write(*words):
    with open(
        RECORD, "a", encoding="utf-8"
    ) as stream:  # a line at once: processes may share the file
        stream.write(" ".join(map(str, words)) + "\n")


def at_home(target):
    """Is it this machine?"""
    host = target[0] if isinstance(target, tuple) else target
    host = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host in OURS or host.startswith(("/", "\0"))
    return address.is_loopback or address.is_unspecified


def watched(words, cwd, env):
    """Will a process import this file, if it is a Python?"""
    words = words if isinstance(words, list | tuple) else [words]
    if not words or not os.path.basename(os.fsdecode(words[0])).startswith("python"):
        return True
    env = os.environ if env is None else env
    folders = os.fsdecode(env.get("PYTHONPATH", "")).split(os.pathsep)
    found = any(
        os.path.exists(os.path.join(os.fsdecode(cwd or "."), f, "sitecustomize.py"))
        for f in folders
    )
    return found and "OFFLINE_RECORD" in env


def hook(event, arguments):
    if event == "subprocess.Popen" and not watched(*arguments[1:]):
        write("unwatched", os.getpid(), *map(repr, arguments[1]))
    if event in EVENTS and not at_home(arguments[EVENTS[event]]):
        frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()[-8:-1]]
        write("refused", os.getpid(), event, arguments[EVENTS[event]], *frames)
        raise OSError(f"offline: {event} {arguments[EVENTS[event]]}")


sys.addaudithook(hook)
write("process", os.getpid(), *(word.replace("\n", ";") for word in sys.orig_argv))
