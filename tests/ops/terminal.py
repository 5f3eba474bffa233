"""Runs a program in a terminal of its own, and tells what a person would see. Told by lines, answers by lines of JSON.

Arguments: columns, lines, program, its arguments.
  wait WORDS     answers when all words, separated by |, are on the screen: {"seen": true, "screen": [...]}, or after 20 s false
  press KEYS     types them; \\e and so on as in Python
  size C L       makes the window another size
  signal NAME    sends a signal
  end            waits for the program's end: {"code": ..., "restored": ..., "shown": ...}
"""
import fcntl, json, os, pty, select, signal, struct, subprocess, sys, termios, time
import pyte

PATIENCE = 20
columns, lines = int(sys.argv[1]), int(sys.argv[2])
ours, theirs = pty.openpty()


def resize():
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def take_over():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


resize()
before = termios.tcgetattr(theirs)
environment = dict(os.environ, TERM="xterm-256color")
child = subprocess.Popen(
    sys.argv[3:], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True, preexec_fn=take_over
)
screen = pyte.Screen(columns, lines)
stream = pyte.ByteStream(screen)
written = b""


def read(seconds):
    global written
    while select.select([ours], [], [], seconds)[0]:
        text = os.read(ours, 65536)
        written += text
        stream.feed(text)
        seconds = 0


def wait(words):
    until = time.monotonic() + PATIENCE
    while True:
        read(0.02)
        shown = "\n".join(screen.display)
        if all(word in shown for word in words):
            return True
        if time.monotonic() > until or child.poll() is not None:
            return False


def end():
    until = time.monotonic() + PATIENCE
    while child.poll() is None and time.monotonic() < until:
        read(0.02)
    read(0.1)
    is_left = written.rfind(b"\x1b[?1049l") > written.rfind(b"\x1b[?1049h")
    has_cursor = written.rfind(b"\x1b[?25h") >= written.rfind(b"\x1b[?25l")
    is_restored = termios.tcgetattr(theirs) == before and is_left and has_cursor
    return {"code": child.poll(), "restored": is_restored, "bytes": len(written)}


try:
    for line in sys.stdin:
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "wait":
            seen = wait(rest.split("|"))
            print(json.dumps({"seen": seen, "screen": [row.rstrip() for row in screen.display]}), flush=True)
        elif word == "press":
            os.write(ours, rest.encode().decode("unicode_escape").encode())
        elif word == "size":
            columns, lines = map(int, rest.split())
            screen.resize(lines, columns)
            resize()
        elif word == "signal":
            os.kill(child.pid, getattr(signal, "SIG" + rest))
        elif word == "end":
            print(json.dumps(end()), flush=True)
finally:
    if child.poll() is None:
        child.kill()
