#!/usr/bin/env python3
"""cutting_proxy.py LISTEN_PORT TARGET_PORT CUT_BYTES STATE: passes TCP connections on to a server on 127.0.0.1 and cuts
each after CUT_BYTES bytes of the server's (0: never). Writes the bytes passed so far and the number of cuts to STATE."""
import os, socket, sys, threading

listen, target, cut, state = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
lock = threading.Lock()
passed = cuts = 0


def note(more, was_cut):
    global passed, cuts
    with lock:
        passed += more
        cuts += was_cut
        with open(state + '.new', 'w') as file:
            file.write(f'{passed} {cuts}\n')
        os.rename(state + '.new', state)


def up(client, server):
    try:
        while data := client.recv(65536):
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client):
    server = socket.create_connection(('127.0.0.1', target))
    threading.Thread(target=up, args=(client, server), daemon=True).start()
    left = cut
    try:
        while data := server.recv(65536):
            if cut and len(data) >= left:
                client.sendall(data[:left])
                note(left, 1)
                break
            client.sendall(data)
            note(len(data), 0)
            left -= len(data)
    except OSError:
        pass
    # the other thread still waits on both: closing alone would not end them
    for end in client, server:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('127.0.0.1', listen))
listener.listen(64)
note(0, 0)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
