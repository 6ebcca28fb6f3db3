//! A document as programs in Go read it: keys in any case, the last of several counts, null changes nothing. Nearly all
//! other registries, engines and scanners are such programs, and must not see another image than we do.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use std::fmt;

/// JSON with every key of every object, in order.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Null,
    Scalar(Value),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// What is expected at a place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Text,
    Number,
    Texts,
    TextMap,
    Object(&'static [(&'static str, Shape)]),
    Objects(&'static [(&'static str, Shape)]),
}

/// Reads JSON; `None` where it is none.
pub(crate) fn parse(bytes: &[u8]) -> Option<Node> {
    serde_json::from_slice(bytes).ok()
}

/// The value as Go has it, without what is empty; `None` where Go reports an error.
pub(crate) fn read(node: &Node, shape: Shape) -> Option<Value> {
    match (node, shape) {
        (Node::Null, _) => Some(Value::Null),
        (Node::Scalar(value), Shape::Text) if value.is_string() => Some(value.clone()),
        (Node::Scalar(value), Shape::Number) if value.is_i64() => Some(value.clone()),
        (Node::List(list), Shape::Texts) => list.iter().map(|node| read(node, Shape::Text)).collect(),
        (Node::List(list), Shape::Objects(fields)) => {
            list.iter().map(|node| read(node, Shape::Object(fields))).collect()
        }
        (Node::Object(pairs), Shape::TextMap) => {
            let mut map = Map::new();
            for (key, node) in pairs {
                let text = read(node, Shape::Text)?;
                map.insert(key.clone(), if text.is_null() { json!("") } else { text });
            }
            Some(Value::Object(map))
        }
        (Node::Object(pairs), Shape::Object(fields)) => {
            let mut map = Map::new();
            for (key, node) in pairs {
                let Some((name, shape)) = fields.iter().find(|(name, _)| fold(name) == fold(key)) else { continue };
                let value = read(node, *shape)?;
                if !value.is_null() {
                    map.insert((*name).to_owned(), value);
                }
            }
            Some(Value::Object(map))
        }
        _ => None,
    }
}

/// Without fields that are null, empty or zero, which Go does not tell from absent ones.
pub(crate) fn pruned(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().map(|(key, value)| (key, pruned(value)));
            kept.filter(|(_, value)| !is_empty(value)).collect::<Map<_, _>>().into()
        }
        Value::Array(list) => list.into_iter().map(pruned).collect(),
        other => other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        value => value == &json!(0),
    }
}

/// One spelling of all that Go takes for the same key.
fn fold(key: &str) -> String {
    let one = |character| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(one).collect()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Node::Object(pairs))
    }
}
