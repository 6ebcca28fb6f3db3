"""The published Python package drives a daemon. `checks.py HOST NAME` runs one function; without NAME, lists them."""
import io
import socket as sockets
import sys
import tarfile
import threading
import time

import docker
import websocket
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound


def expect(error, call, *args, status=None, text=None, **kwargs):
    try:
        call(*args, **kwargs)
    except error as raised:
        if status is not None:
            assert raised.response.status_code == status, raised
        if text is not None:
            assert text in str(raised), raised
        return raised
    raise AssertionError(f'no {error.__name__} from {call}')


def socket_of(host):
    plain = sockets.socket(sockets.AF_UNIX)
    plain.settimeout(20)
    plain.connect(host.removeprefix('unix://'))
    return plain


def system(client):
    assert client.ping() is True
    version = client.version()
    assert version['ApiVersion'] == '1.51' and version['MinAPIVersion'] == '1.24' and version['Os'] == 'linux'
    info = client.info()
    assert info['OSType'] == 'linux' and info['Containers'] >= 0 and info['NCPU'] >= 1 and info['MemTotal'] > 0
    assert info['Swarm']['LocalNodeState'] == 'inactive'


def run_and_remove(client):
    assert client.containers.run('busybox', 'echo one two', remove=True) == b'one two\n'
    assert client.containers.run('busybox', ['sh', '-c', 'echo out; echo err >&2'], remove=True, stderr=True) \
        in (b'out\nerr\n', b'err\nout\n')
    error = expect(ContainerError, client.containers.run, 'busybox', ['sh', '-c', 'echo why >&2; exit 3'], remove=True)
    assert error.exit_status == 3 and error.stderr == b'why\n'
    expect(ImageNotFound, client.api.create_container, 'nosuchimage:x')


def configuration(client):
    container = client.containers.create(
        'busybox', ['sh', '-c', 'echo $A; pwd; id -u; hostname; cat /v/f; ulimit -n'], name='python-configuration',
        environment={'A': 'b c'}, working_dir='/tmp', user='1000', hostname='named', labels={'l': 'm'},
        volumes={'python-v': {'bind': '/v', 'mode': 'rw'}}, mem_limit='64m', nano_cpus=500_000_000, pids_limit=50,
        ulimits=[docker.types.Ulimit(name='nofile', soft=100, hard=200)], read_only=True, tmpfs={'/t': 'size=1m'},
        cap_drop=['ALL'], cap_add=['CHOWN'], restart_policy={'Name': 'on-failure', 'MaximumRetryCount': 1},
        extra_hosts={'other': '1.2.3.4'}, dns=['9.9.9.9'], stop_signal='INT', init=True, oom_score_adj=10,
        sysctls={'net.ipv4.ip_unprivileged_port_start': '1'}, shm_size='8m', security_opt=['no-new-privileges'])
    try:
        client.containers.run('busybox', ['sh', '-c', 'echo kept >/v/f'], volumes=['python-v:/v'], remove=True)
        container.start()
        assert container.wait()['StatusCode'] == 0
        assert container.logs() == b'b c\n/tmp\n1000\nnamed\nkept\n100\n', container.logs()
        host = container.attrs['HostConfig']
        assert host['Memory'] == 64 << 20 and host['NanoCpus'] == 500_000_000 and host['PidsLimit'] == 50
        assert container.labels == {'l': 'm'} and host['ReadonlyRootfs'] and host['Init']
        assert host['ExtraHosts'] == ['other:1.2.3.4'] and host['Tmpfs'] == {'/t': 'size=1m'}
        assert container.attrs['Config']['StopSignal'] == 'INT'
    finally:
        container.remove(force=True)
        client.volumes.get('python-v').remove()


def life(client):
    container = client.containers.run('busybox', 'sleep 1000', name='python-life', detach=True)
    try:
        assert container.status == 'created' and len(container.id) == 64 and container.short_id == container.id[:12]
        container.reload()
        assert container.status == 'running'
        container.pause()
        container.reload()
        assert container.status == 'paused'
        container.unpause()
        container.rename('python-renamed')
        container.reload()
        assert container.name == 'python-renamed'
        assert any('sleep 1000' in ' '.join(line) for line in container.top()['Processes'])
        container.restart(timeout=0)
        container.kill(signal='KILL')
        assert container.wait()['StatusCode'] == 137
        container.start()
        container.stop(timeout=0)
        container.stop()
        container.start()
        container.start()
        expect(APIError, container.remove, status=409, text='cannot remove container')
        expect(APIError, client.containers.create, 'busybox', name='python-renamed', status=409, text='already in use')
        found = client.containers.list(filters={'name': 'python-renamed'})
        assert [c.id for c in found] == [container.id]
    finally:
        container.remove(force=True)
    expect(NotFound, client.containers.get, container.id)


def logs(client):
    container = client.containers.run('busybox', ['sh', '-c', 'for i in 1 2 3; do echo $i; sleep 0.2; done'], detach=True)
    try:
        assert list(container.logs(stream=True, follow=True)) == [b'1\n', b'2\n', b'3\n']
        assert container.logs(tail=1) == b'3\n'
        assert container.logs(since=int(time.time()) + 100) == b''
        assert container.logs(timestamps=True).split()[1] == b'1'
    finally:
        container.remove(force=True)


def execs(client):
    container = client.containers.run('busybox', 'sleep 1000', detach=True)
    try:
        result = container.exec_run(['sh', '-c', 'echo out; echo err >&2; exit 4'], demux=True)
        assert result.exit_code == 4 and result.output == (b'out\n', b'err\n'), result
        assert container.exec_run('pwd', workdir='/tmp').output == b'/tmp\n'
        assert container.exec_run('id -u', user='1000').output == b'1000\n'
        assert container.exec_run(['sh', '-c', 'echo $X'], environment={'X': 'y'}).output == b'y\n'
        assert container.exec_run('tty', tty=True).output.startswith(b'/dev/pts/')
        assert b''.join(container.exec_run('seq 1 1000', stream=True).output).split()[-1] == b'1000'
        container.exec_run('touch /made', detach=True)
        # what the start says decides whether output is framed
        made = client.api.exec_create(container.id, 'echo framed', tty=True)
        assert client.api.exec_start(made['Id'], demux=True) == (b'framed\r\n', None)
        made = client.api.exec_create(container.id, ['sh', '-c', 'echo err >&2; echo bare'])
        assert client.api.exec_start(made['Id'], tty=True) == b'bare\n'
        made = client.api.exec_create(container.id, 'cat', stdin=True)
        socket = client.api.exec_start(made['Id'], socket=True)._sock
        socket.sendall(b'typed\n')
        socket.shutdown(1)
        data = b''
        while chunk := socket.recv(1000):
            data += chunk
        assert data == b'\x01\0\0\0\0\0\0\x06typed\n', data
        assert client.api.exec_inspect(made['Id'])['ExitCode'] == 0
        assert container.exec_run('ls /made').exit_code == 0
    finally:
        container.remove(force=True)


def attach(client):
    container = client.containers.create('busybox', 'cat', stdin_open=True, name='python-attach')
    try:
        socket = container.attach_socket(params={'stdin': 1, 'stdout': 1, 'stream': 1})._sock
        container.start()
        socket.sendall(b'one\n')
        assert socket.recv(100) == b'\x01\0\0\0\0\0\0\x04one\n'
        plain = socket_of(HOST)
        web = websocket.create_connection(
            f'ws://docker/containers/{container.id}/attach/ws?stdin=1&stdout=1&stream=1', socket=plain)
        web.send('two\n')
        got = web.recv()
        assert got in ('two\n', b'two\n'), got
        assert socket.recv(100) == b'\x01\0\0\0\0\0\0\x04two\n'
        web.close()
    finally:
        container.remove(force=True)


def images(client):
    image = client.images.get('busybox')
    assert 'busybox:latest' in image.tags and image.id.startswith('sha256:')
    assert image.tag('python-image', 'one')
    saved = b''.join(client.images.get('python-image:one').save(named='python-image:one'))
    names = tarfile.open(fileobj=io.BytesIO(saved)).getnames()
    assert 'index.json' in names and 'manifest.json' in names
    client.images.remove('python-image:one')
    expect(ImageNotFound, client.images.get, 'python-image:one')
    loaded = client.images.load(saved)
    assert [i.id for i in loaded] == [image.id]
    assert len(client.images.list(name='python-image:one')) == 1
    assert image.history()[-1]['CreatedBy'] == 'layer 0' or len(image.history()) >= 1
    client.images.remove('python-image:one')
    expect(ImageNotFound, client.images.remove, 'python-image:one')
    expect(docker.errors.ImageLoadError, client.images.load, b'nonsense')


def volumes(client):
    volume = client.volumes.create('python-volume', labels={'a': 'b'})
    try:
        assert volume.attrs['Driver'] == 'local' and volume.attrs['Labels'] == {'a': 'b'}
        assert [v.name for v in client.volumes.list(filters={'label': 'a=b'})] == ['python-volume']
        container = client.containers.create('busybox', volumes=['python-volume:/v'])
        expect(APIError, volume.remove, status=409, text='volume is in use')
        container.remove()
    finally:
        volume.remove()
    expect(NotFound, client.volumes.get, 'python-volume')


def networks(client):
    names = {network.name: network.attrs['Driver'] for network in client.networks.list()}
    assert names['bridge'] == 'bridge' and names['host'] == 'host' and names['none'] == 'null', names
    assert client.networks.get('bridge').attrs['IPAM']['Config'][0]['Subnet']
    container = client.containers.run('busybox', 'sleep 100', ports={'80/tcp': None, '53/udp': 8399}, detach=True)
    try:
        container.reload()
        assert container.ports['53/udp'][0]['HostPort'] == '8399' and int(container.ports['80/tcp'][0]['HostPort']) > 1024
        assert container.attrs['NetworkSettings']['Networks']['bridge']['IPAddress']
    finally:
        container.remove(force=True)


def events(client):
    seen = []
    stream = client.events(decode=True, filters={'container': 'python-events'})

    def read():
        for event in stream:
            seen.append(event['Action'])
            if event['Action'] == 'destroy':
                return
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    container = client.containers.run('busybox', 'true', name='python-events', detach=True)
    container.wait()
    container.remove()
    reader.join(10)
    assert seen == ['create', 'start', 'die', 'destroy'], seen


def prune(client):
    container = client.containers.create('busybox', 'true', labels={'python-prune': '1'})
    pruned = client.containers.prune(filters={'label': 'python-prune'})
    assert pruned['ContainersDeleted'] == [container.id], pruned


def old_versions(client):
    for version in ('1.24', '1.30', '1.41', '1.44'):
        old = docker.DockerClient(base_url=HOST, version=version, timeout=60)
        assert old.containers.run('busybox', 'echo old', remove=True) == b'old\n'
        assert old.version()['ApiVersion'] == '1.51'
        old.close()


CHECKS = {name: check for name, check in list(globals().items())
          if callable(check) and getattr(check, '__module__', '') == '__main__' and name not in ('expect', 'socket_of')}
HOST = sys.argv[1]
if len(sys.argv) < 3:
    print('\n'.join(sorted(CHECKS)))
else:
    connection = docker.DockerClient(base_url=HOST, timeout=60)
    CHECKS[sys.argv[2]](connection)
    connection.close()
