//! Stand-ins for the images that the test suites of other projects name: each does what they look for, and is made of
//! Debian's busybox.

use crate::{
    archive::{Archive, Tar},
    images,
};
use serde_json::json;

/// What the tests of `hello-world` read.
const HELLO: &str =
    "#!/bin/sh\necho\necho 'Hello from Docker!'\necho 'This is a stand-in for the image of that name.'\n";

/// A web server that ends when it is asked to.
const RUN_UHTTPD: &str = "#!/bin/sh\ntrap 'exit 0' TERM INT\nhttpd \"$@\" &\nwait\n";

const UHTTPD_CONFIG: &str = "\nconfig uhttpd main\n\tlist listen_http 0.0.0.0:80\n\toption home /www\n";

/// `hello-world`: prints a greeting and ends.
pub fn hello_world(tag: &str) -> Archive {
    on_busybox(tag, json!({"Cmd": ["/hello"]}), Tar::new().file("hello", 0o755, HELLO.as_bytes()))
}

/// `alpine`: a shell and the usual small programs.
pub fn alpine(tag: &str) -> Archive {
    let release = b"NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.10.0\n";
    let passwd = b"root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\n";
    let mut tar = Tar::new();
    tar.dir("var/opt", 0o755).file("etc/os-release", 0o644, release).file("etc/passwd", 0o644, passwd);
    on_busybox(tag, json!({"Cmd": ["/bin/sh"]}), &mut tar)
}

/// `fussybeaver/uhttpd`: a web server on port 80.
pub fn uhttpd(tag: &str) -> Archive {
    let mut tar = Tar::new();
    tar.dir("usr/sbin", 0o755).dir("etc/config", 0o755).dir("www", 0o755);
    tar.file("usr/sbin/run_uhttpd", 0o755, RUN_UHTTPD.as_bytes());
    tar.file("etc/config/uhttpd", 0o644, UHTTPD_CONFIG.as_bytes());
    tar.file("www/index.html", 0o644, b"<html>here</html>\n");
    on_busybox(tag, json!({"Cmd": ["/usr/sbin/run_uhttpd", "-f", "-p", "80", "-h", "/www"]}), &mut tar)
}

fn on_busybox(tag: &str, config: serde_json::Value, layer: &mut Tar) -> Archive {
    let mut image = images::busybox_archive();
    image.tags = vec![tag.to_owned()];
    for (name, value) in config.as_object().into_iter().flatten() {
        image.config[name] = value.clone();
    }
    image.layer(layer.finish())
}
