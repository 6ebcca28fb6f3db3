//! Published ports in one line: `99/tcp, 127.0.0.1:9000-9001->9000-9001/udp, 0.0.0.0:8080->80/tcp`.

use crate::value::Value;

/// A run of ports of one address and protocol.
struct Run<'a> {
    ip: &'a str,
    protocol: &'a str,
    first: i64,
    last: i64,
}

impl Run<'_> {
    fn text(&self) -> String {
        let range = match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}-{}", self.first, self.last),
        };
        match self.ip {
            "" => format!("{range}/{}", self.protocol),
            ip => format!("{}->{range}/{}", joined(ip, &range), self.protocol),
        }
    }
}

fn joined(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// The ports of a container as `ps` prints them: first closed runs, then open ones, then those published elsewhere.
pub fn shown(ports: &[Value]) -> String {
    let mut ports: Vec<&Value> = ports.iter().collect();
    ports.sort_by_key(|port| (port.int("PrivatePort"), port.text("IP"), port.int("PublicPort"), port.text("Type")));
    let (mut closed, mut open, mut elsewhere) = (Vec::new(), Vec::<Run<'_>>::new(), Vec::new());
    for port in ports {
        let (ip, protocol) = (port.text("IP"), port.text("Type"));
        let (private, public) = (port.int("PrivatePort"), port.int("PublicPort"));
        if !ip.is_empty() && public != private {
            elsewhere.push(format!("{}->{private}/{protocol}", joined(ip, &public.to_string())));
            continue;
        }
        match open.iter_mut().find(|run| run.ip == ip && run.protocol == protocol) {
            None => open.push(Run { ip, protocol, first: private, last: private }),
            Some(run) if private == run.last + 1 => run.last = private,
            Some(run) => {
                closed.push(run.text());
                (run.first, run.last) = (private, private);
            }
        }
    }
    closed.extend(open.iter().map(Run::text));
    closed.extend(elsewhere);
    closed.join(", ")
}
