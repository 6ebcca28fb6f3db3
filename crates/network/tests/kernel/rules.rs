//! Our table as `nft` understands it, against a kept copy.

use crate::world::Machine;
use rorqual_network::Config;
use serde_json::Value;

/// One line an object, in the order of the kernel, without what differs from run to run.
fn lines(json: &str) -> String {
    let document: Value = serde_json::from_str(json).unwrap();
    let objects = document["nftables"].as_array().unwrap();
    let mut text = String::new();
    for object in objects.iter().filter(|object| object.get("metainfo").is_none()) {
        let mut object = object.clone();
        strip(&mut object);
        text.push_str(&object.to_string());
        text.push('\n');
    }
    text
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            ["handle", "counter", "flags"].iter().for_each(|name| drop(fields.remove(*name)));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => {
            items.iter_mut().for_each(strip);
            items.retain(|item| *item != serde_json::json!({}));
        }
        _ => {}
    }
}

#[test]
fn the_table_is_what_nft_says_it_is() {
    let machine = Machine::new();
    machine.host.output("sysctl", "-qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    let networks = machine.open(Config {
        bip: Some("172.17.0.1/16".parse().unwrap()),
        bip6: Some("fd00:17::1/64".parse().unwrap()),
        ..Config::default()
    });
    let web = machine
        .start(&networks, &[("80/tcp", "", "8080"), ("53/udp", "127.0.0.1", "5353"), ("80/tcp", "2001:db8::1", "81")]);
    let seen = lines(&machine.host.output("nft", "-j list table inet rorqual"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/rules.expected");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &seen).unwrap();
    }
    assert_eq!(seen, std::fs::read_to_string(path).unwrap(), "set UPDATE_EXPECT=1 to accept the change");
    machine.release(&networks, &web);
    machine.shutdown(&networks);
}
