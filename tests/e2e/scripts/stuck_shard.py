"""Starts a node, argument 1, as its supervisor; stops one of its threads as a debugger does, and lets it go again.

Prints how many signs of life came in each of three times: before, meanwhile, after."""
import ctypes, glob, os, socket, subprocess, sys, tempfile, time

SEIZE, INTERRUPT, DETACH, WAIT_FOR_THREADS = 0x4206, 0x4207, 17, 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_ulong] * 4


def ptrace(request, thread):
    if libc.ptrace(request, thread, 0, 0) < 0:
        print("ptrace:", os.strerror(ctypes.get_errno()))
        sys.exit()


def signs_of_life(supervisor, seconds):
    end, heard = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            heard += supervisor.recv(4096).decode()
        except TimeoutError:
            pass
    return heard.count("WATCHDOG=1")


with tempfile.TemporaryDirectory() as folder:
    supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    supervisor.bind(folder + "/notify")
    supervisor.settimeout(20)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    environment |= {"NOTIFY_SOCKET": folder + "/notify", "WATCHDOG_USEC": "1000000"}
    words = "serve --clients 127.0.0.1:0 --internal 127.0.0.1:0 --kafka none --shards 2".split()
    with subprocess.Popen([sys.argv[1], *words], env=environment, stderr=subprocess.DEVNULL) as node:
        try:
            assert "READY=1" in supervisor.recv(4096).decode()
            supervisor.settimeout(0.1)
            before = signs_of_life(supervisor, 1.5)
            tasks = glob.glob(f"/proc/{node.pid}/task/*")
            thread = next(int(os.path.basename(task)) for task in tasks if "shard-1" in open(task + "/comm").read())
            ptrace(SEIZE, thread)
            ptrace(INTERRUPT, thread)
            os.waitpid(thread, WAIT_FOR_THREADS)
            # It may have turned since the last sign: that counts once.
            signs_of_life(supervisor, 0.7)
            meanwhile = signs_of_life(supervisor, 1.5)
            ptrace(DETACH, thread)
            print(before > 0, meanwhile, signs_of_life(supervisor, 1.5) > 0)
        finally:
            node.kill()
