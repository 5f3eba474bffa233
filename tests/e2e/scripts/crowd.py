import resource, socket, sys

host, port, source, name = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
IP_BIND_ADDRESS_NO_PORT = 24
held, begun, number = [], [], 0

def connected():
    tcp = socket.socket()
    tcp.settimeout(30)
    tcp.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    tcp.bind((source, 0))
    tcp.connect((host, port))
    return tcp

def request():
    return (f"GET /ws?user={name}-{number} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n").encode()

for line in sys.stdin:
    command, _, count = line.strip().partition(" ")
    if command == "open":
        before, refused = len(held), 0
        for _ in range(int(count)):
            number += 1
            tcp = connected()
            tcp.sendall(request())
            status = tcp.recv(4096).split(b" ", 2)[1]
            if status == b"101":
                held.append(tcp)
            else:
                assert status == b"503", status
                refused += 1
                tcp.close()
        print(len(held) - before, refused)
    elif command == "begin":
        for _ in range(int(count)):
            tcp = connected()
            tcp.sendall(b"GET /ws HTTP/1.1\r\n")
            begun.append(tcp)
        print("begun")
    elif command == "end":
        for tcp in begun:
            tcp.close()
        begun.clear()
        print("ended")
    elif command == "leave":
        for tcp in held[-int(count):]:
            tcp.close()
        del held[-int(count):]
        print("left")
    elif command == "hear":
        # A text of a server's: two bytes and the payload.
        wanted = 2 + int(count)
        whole = 0
        for tcp in held:
            had = b""
            while len(had) < wanted:
                had += tcp.recv(wanted - len(had)) or exit("closed")
            whole += had[0] == 0x81
        print(whole)
