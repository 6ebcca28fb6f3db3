"""A stand-in for Docker Hub's index, which clients reach through a proxy: hub_index.py PORT is that proxy."""
import http.server
import json
import sys
import urllib.parse

KNOWN = {'hello-world': 'A greeting', 'busybox': 'Small programs', 'alpine': 'A shell'}


class Index(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        words = urllib.parse.parse_qs(url.query).get('q', [''])
        if (url.hostname, url.path) != ('index.docker.io', '/v1/search'):
            return self.send_error(404)
        found = [{'name': name, 'description': text, 'is_official': True, 'is_automated': False, 'star_count': 1}
                 for name, text in KNOWN.items() if words[0] in name]
        body = json.dumps({'num_results': len(found), 'query': words[0], 'results': found}).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Index).serve_forever()
