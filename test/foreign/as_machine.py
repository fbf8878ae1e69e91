"""Runs a program that expects an Azure confidential VM, unchanged, on the machine of a running emulator.

    python3 test/foreign/as_machine.py STATE_FOLDER PROGRAM [ARGUMENT ...]

The program finds a TPM at /dev/tpmrm0, the metadata service at 169.254.169.254, the event log where Linux has it and the
emulator's TLS root among those of the system; Azure's names it reaches by the proxy that its environment names. Mounts and
network are namespaces of its own, so that nothing outside changes and nothing else can be reached.
"""

import os
import pty
import select
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tty

METADATA = ("169.254.169.254", 80)
ROOT_FILES = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"]


def start(state, program):
    """Outside: serves the device and the connections that come from inside, until the program ends."""
    environment = read_environment(os.path.join(state, "machine.env"))
    proxy = int(environment["HTTPS_PROXY"].rsplit(":", 1)[1])
    ours, theirs = socket.socketpair()
    device = open_device(environment["CTRAIN_VTPM"])
    threading.Thread(target=hand_on, args=(ours, proxy), daemon=True).start()
    namespaces = ["unshare", "--map-root-user", "--mount", "--net"]
    inside = [sys.executable, __file__, "--inside", str(theirs.fileno()), str(proxy), device, os.path.abspath(state)]
    child = subprocess.Popen(
        namespaces + inside + program, pass_fds=[theirs.fileno()], env={**os.environ, **environment}
    )
    theirs.close()
    return child.wait()


def read_environment(path):
    with open(path) as file:
        return dict(shlex.split(line)[1].split("=", 1) for line in file)


def open_device(vtpm):
    """A terminal whose other side is the vTPM's socket. One opening is one connection, as one of /dev/tpmrm0 is one space."""
    master, slave = pty.openpty()
    tty.setraw(slave)  # bytes as they are; stays so as long as the master side is open
    name = os.ttyname(slave)
    os.close(slave)
    threading.Thread(target=serve_device, args=(master, vtpm), daemon=True).start()
    return name


def serve_device(master, vtpm):
    connection = None
    while True:
        ready = select.select([master] + ([connection] if connection else []), [], [])[0]
        if connection in ready:
            response = connection.recv(4096)
            if not response:  # the emulator has ended: the program sees its device hang up
                os.close(master)
                return
            os.write(master, response)
            continue
        try:
            command = os.read(master, 4096)
        except OSError:  # nobody has it open
            if connection:
                connection.close()
                connection = None
            time.sleep(0.005)
            continue
        if connection is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(vtpm)
        connection.sendall(command)


def hand_on(channel, proxy):
    """Connections accepted inside, where there is no way out, end at the proxy outside."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
        if not message:
            return
        accepted, target = socket.socket(fileno=descriptors[0]), socket.create_connection(("127.0.0.1", proxy))
        for source, sink in [(accepted, target), (target, accepted)]:
            threading.Thread(target=pump, args=(source, sink), daemon=True).start()


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # either side may leave whenever it likes


def inside(channel, proxy, device, state, program):
    """In the namespaces: makes them look like the machine, then becomes the program."""
    for command in ["ip link set lo up", f"ip address add {METADATA[0]}/32 dev lo"]:
        subprocess.run(command.split(), check=True)
    mount_devices(device)
    for roots in filter(os.path.exists, ROOT_FILES):
        mount("--bind", os.environ["SSL_CERT_FILE"], roots)
    log = os.path.join(state, "binary_bios_measurements")
    if os.path.exists(log):
        mount("-t", "tmpfs", "tmpfs", "/sys/kernel/security")
        os.mkdir("/sys/kernel/security/tpm0")
        subprocess.run(["cp", log, "/sys/kernel/security/tpm0/binary_bios_measurements"], check=True)
    listeners = [socket.create_server(address) for address in [METADATA, ("127.0.0.1", proxy)]]
    if os.fork() == 0:
        accept(listeners, channel)
    os.execvp(program[0], program)


def accept(listeners, channel):
    while True:
        ready = select.select([*listeners, channel], [], [])[0]
        if channel in ready:  # closed: the program has ended
            os._exit(0)
        connection = ready[0].accept()[0]
        socket.send_fds(channel, [b"c"], [connection.fileno()])
        connection.close()


def mount_devices(device):
    folder = tempfile.mkdtemp()
    mount("-t", "tmpfs", "tmpfs", folder)
    sources = {name: f"/dev/{name}" for name in ["null", "zero", "random", "urandom"]}
    for name, source in {**sources, "tpmrm0": device}.items():
        open(f"{folder}/{name}", "x").close()
        mount("--bind", source, f"{folder}/{name}")
    mount("--rbind", folder, "/dev")


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        descriptor, port, terminal, folder, *command = sys.argv[2:]
        inside(socket.socket(fileno=int(descriptor)), int(port), terminal, folder, command)
    else:
        sys.exit(start(sys.argv[1], sys.argv[2:]))
