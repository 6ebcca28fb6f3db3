#!/usr/bin/env python3
"""Compares what a daemon says exists with what does: mounts, cgroups, links, rules, processes, files.

Prints one line per difference and ends with 1 if there was any. Background removals are given a few seconds to
settle. Shares no code with the daemon and reads no file format of its own but OCI's."""
import argparse, http.client, json, os, re, socket, subprocess, sys, time

parser = argparse.ArgumentParser()
for name in ('--host', '--data-root', '--exec-root', '--cgroup', '--netns', '--daemon'):
    parser.add_argument(name)
parser.add_argument('--settle', type=float, default=6.0)
args = parser.parse_args()
HEX64 = re.compile(r'[0-9a-f]{64}')


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(args.host.removeprefix('unix://'))


def api(path):
    connection = Connection('docker')
    connection.request('GET', path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f'GET {path}: {answer.status} {body!r}')
    return json.loads(body)


def names(*parts):
    try:
        return sorted(os.listdir(os.path.join(*parts)))
    except FileNotFoundError:
        return []


def text(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ''


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return done.stdout


def inside(*command):
    return run('nsenter', f'--net=/run/netns/{args.netns}', *command) if args.netns else ''


def compare(what, said, found):
    for name in sorted(set(found) - set(said)):
        yield f'{what}: {name} exists, but the daemon does not know it'
    for name in sorted(set(said) - set(found)):
        yield f'{what}: {name} is known to the daemon, but does not exist'


def processes():
    """pid -> (ppid, start, state, command line), of those in our cgroup or network namespace"""
    found = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        stat = text(f'/proc/{pid}/stat')
        if stat:
            fields = stat[stat.rindex(')') + 2:].split()
            found[int(pid)] = (int(fields[1]), fields[0], text(f'/proc/{pid}/cmdline').replace('\0', ' ').strip())
    return found


def cgroups():
    """id -> directories"""
    found = {}
    for top, dirs, _ in os.walk('/sys/fs/cgroup'):
        if f'/{args.cgroup}' not in top:
            continue
        for name in dirs:
            match = HEX64.search(name)
            if match:
                found.setdefault(match[0], []).append(os.path.join(top, name))
    return found


def check_containers(containers):
    ids = [c['Id'] for c in containers]
    files = [n for n in names(args.data_root, 'containers') if HEX64.fullmatch(n)]
    # a removal that failed half way leaves a dead container, whose files may be gone already
    dead = {c['Id'] for c in containers if c['State'] in ('dead', 'removing')}
    yield from compare('container files', [i for i in ids if i not in dead or i in files], files)
    for name in names(args.data_root, 'containers'):
        if not HEX64.fullmatch(name):
            yield f'container files: {name} is left over'
    if len(ids) != len(set(ids)):
        yield 'a container is listed twice'
    said = [n for c in containers for n in c['Names']]
    if len(said) != len(set(said)):
        yield f'a name is given twice: {said}'


def check_running(containers, inspected, table):
    live = [c['Id'] for c in containers if c['State'] in ('running', 'paused')]
    yield from compare('cgroup', live, cgroups())
    pids = {}
    for container in live:
        pid = inspected[container]['State']['Pid']
        pids[pid] = container
        if pid not in table or table[pid][1] == 'Z':
            yield f'process: {container} runs as {pid}, which does not live'
        elif container not in text(f'/proc/{pid}/cgroup'):
            yield f'process: {pid} is not in the cgroup of {container}'
    daemon = int(args.daemon)
    known = {daemon} | set(pids)
    shims = {}
    for pid, (parent, state, line) in table.items():
        if f'/{args.cgroup}' not in text(f'/proc/{pid}/cgroup') or pid == daemon:
            continue
        owner = HEX64.search(text(f'/proc/{pid}/cgroup'))
        if owner:
            if owner[0] not in live:
                yield f'process: {pid} ({line}) belongs to no running container'
        elif state == 'Z':
            yield f'process: {pid} is a zombie of {parent}'
        else:
            shims[pid] = line
    parents = {table[pid][0] for pid in pids if pid in table}
    for pid, line in shims.items():
        if pid not in parents and table[pid][0] not in parents:
            yield f'process: {pid} ({line}) supervises nothing'


def check_network(containers, inspected):
    if not args.netns:
        return
    links = json.loads(inside('ip', '-j', '-d', 'link') or '[]')
    veths = [l['ifname'] for l in links if l.get('linkinfo', {}).get('info_kind') == 'veth' and l['ifname'] != 'ext0']
    attached = [i for i in inspected.values() if i['State']['Running'] and not i['State'].get('Restarting')
                and i['HostConfig']['NetworkMode'] in ('default', 'bridge')]
    if len(veths) != len(attached):
        yield f'links: {len(veths)} ({" ".join(veths)}) for {len(attached)} running containers on the bridge'
    rules = inside('nft', '-j', 'list', 'ruleset')
    elements = []

    def walk(value):
        if isinstance(value, dict):
            if 'map' in value and 'elem' in value['map']:
                elements.extend(value['map']['elem'])
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)
    walk(json.loads(rules) if rules else {})
    wanted = {(int(b['HostPort']), p.split('/')[1]) for i in attached
              for p, bs in (i['NetworkSettings']['Ports'] or {}).items() for b in bs or []}
    flat = json.dumps(elements)
    found = set(map(int, re.findall(r'\b(\d{2,5})\b', flat)))
    for port, protocol in sorted(wanted):
        if port not in found:
            yield f'rules: published port {port}/{protocol} has no element'
    if elements and not wanted:
        yield f'rules: {len(elements)} map elements are left and no port is published: {flat[:200]}'


def check_mounts(containers):
    known = {c['Id'] for c in containers if c['State'] in ('running', 'paused')}
    for pid in ('self', args.daemon):
        for line in text(f'/proc/{pid}/mountinfo').splitlines():
            target = line.split()[4]
            if not target.startswith((args.data_root + '/', args.exec_root + '/')):
                continue
            owner = HEX64.search(target)
            if owner and 'containers' in target and owner[0] not in known:
                yield f'mount: {target} in the namespace of {pid} belongs to no running container'


def blob(digest):
    with open(os.path.join(args.data_root, 'content/blobs/sha256', digest.removeprefix('sha256:')), 'rb') as file:
        return file.read()


def check_images(containers, inspected, images):
    blobs, chains, missing = set(), set(), []

    def reach(digest, kind=''):
        if digest in blobs:
            return
        blobs.add(digest)
        try:
            raw = blob(digest)
        except FileNotFoundError:
            missing.append(digest)
            return
        if not raw.startswith(b'{') or len(raw) > 4 << 20:
            return
        try:
            document = json.loads(raw)
        except ValueError:
            return
        for inner in document.get('manifests', []):
            if os.path.exists(os.path.join(args.data_root, 'content/blobs/sha256', inner['digest'][7:])):
                reach(inner['digest'])
        for inner in document.get('layers', []):
            blobs.add(inner['digest'])
        if 'config' in document and 'digest' in (document['config'] or {}):
            reach(document['config']['digest'])
        chain = ''
        for diff in document.get('rootfs', {}).get('diff_ids', []):
            chain = diff if not chain else 'sha256:' + run_sha256(f'{chain} {diff}')
            chains.add(chain[7:])

    for image in images:
        reach(image['Id'])
    # An image that was removed by force leaves its containers their layers, and nothing says which those are.
    orphaned = [c for c in inspected.values() if c['Image'] not in {image['Id'] for image in images}]
    for digest in missing:
        yield f'blobs: {digest} is needed and missing'
    found = {'sha256:' + n for n in names(args.data_root, 'content/blobs/sha256')}
    for digest in sorted(found - blobs):
        yield f'blobs: {digest} belongs to no image'
    layers = [n for n in names(args.data_root, 'layers') if HEX64.fullmatch(n)]
    for layer in sorted(set(layers) - chains) if not orphaned else []:
        yield f'layers: {layer} belongs to no image'
    for what in ('content/ingest', 'trash', 'layers/trash', 'layers/tmp', 'containers/trash'):
        for name in names(args.data_root, what):
            yield f'{what}: {name} is left over'


def run_sha256(value):
    import hashlib
    return hashlib.sha256(value.encode()).hexdigest()


def check():
    containers = api('/containers/json?all=1')
    inspected = {c['Id']: api(f'/containers/{c["Id"]}/json') for c in containers}
    images = api('/images/json?all=1')
    volumes = [v['Name'] for v in api('/volumes')['Volumes'] or []]
    found = []
    found += check_containers(containers)
    found += check_running(containers, inspected, processes())
    found += check_network(containers, inspected)
    found += check_mounts(containers)
    found += check_images(containers, inspected, images)
    found += compare('volume', volumes, [n for n in names(args.data_root, 'volumes') if not n.startswith('.')])
    live = {c['Id'] for c in containers if c['State'] in ('running', 'paused', 'restarting')}
    for name in names(args.exec_root, 'c'):
        if name not in live:
            yield_name = f'exec root: c/{name} belongs to no running container'
            found.append(yield_name)
    return found


end = time.monotonic() + args.settle
while True:
    differences = check()
    if not differences or time.monotonic() > end:
        break
    time.sleep(0.1)
print('\n'.join(differences), end='\n' if differences else '')
sys.exit(1 if differences else 0)
