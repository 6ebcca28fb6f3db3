//! `images --tree`: each image with its platforms.

use crate::{human, limits::SIZE_DIGITS, print::short_id, value::Value};
use std::fmt::Write;

struct Line {
    name: String,
    id: String,
    disk: String,
    content: String,
    used: bool,
    child: Option<bool>,
}

/// The tree in plain text: no colours, so that it reads the same in a file.
pub(super) fn shown(images: &[Value]) -> String {
    let mut lines = Vec::new();
    for image in images {
        add(image, &mut lines);
    }
    let width = |text: &dyn Fn(&Line) -> usize, heading: usize| lines.iter().map(text).max().unwrap_or(0).max(heading);
    let name = width(&|line| line.name.chars().count() + if line.child.is_some() { 3 } else { 0 }, "IMAGE".len());
    let id = width(&|line| line.id.len(), "ID".len());
    let disk = width(&|line| line.disk.len(), "DISK USAGE".len());
    let content = width(&|line| line.content.len(), "CONTENT SIZE".len());
    let mut text = format!(
        "{:<name$}   {:<id$}   {:>disk$}   {:>content$}   EXTRA\n",
        "IMAGE", "ID", "DISK USAGE", "CONTENT SIZE"
    );
    for line in &lines {
        let branch = match line.child {
            None => "",
            Some(false) => "\u{251c}\u{2500} ",
            Some(true) => "\u{2514}\u{2500} ",
        };
        let label = format!("{branch}{}", line.name);
        let used = if line.used { "   U" } else { "" };
        let _ = writeln!(
            text,
            "{label:<name$}   {:<id$}   {:>disk$}   {:>content$}{used}",
            line.id, line.disk, line.content
        );
    }
    text
}

fn add(image: &Value, lines: &mut Vec<Line>) {
    let bytes = |value: i64| human::size(value as f64, SIZE_DIGITS);
    let manifests: Vec<&Value> =
        image.at(&["Manifests"]).items().iter().filter(|manifest| manifest.text("Kind") == "image").collect();
    let users = |manifest: &&Value| manifest.at(&["ImageData", "Containers"]).items().len();
    let content: i64 = manifests.iter().map(|manifest| manifest.at(&["Size"]).int("Content")).sum();
    let used = image.int("Containers") > 0 || manifests.iter().any(|manifest| users(manifest) > 0);
    let names: Vec<&str> = image.at(&["RepoTags"]).items().iter().filter_map(Value::as_str).collect();
    for name in if names.is_empty() { vec!["<untagged>"] } else { names } {
        lines.push(Line {
            name: name.to_owned(),
            id: short_id(image.text("Id")).to_owned(),
            disk: bytes(image.int("Size")),
            content: bytes(content),
            used,
            child: None,
        });
    }
    let last = manifests.len().saturating_sub(1);
    for (index, manifest) in manifests.iter().enumerate() {
        let platform = manifest.at(&["ImageData", "Platform"]);
        let mut name = format!("{}/{}", platform.text("os"), platform.text("architecture"));
        if !platform.text("variant").is_empty() {
            name.push('/');
            name.push_str(platform.text("variant"));
        }
        let size = manifest.at(&["Size"]);
        lines.push(Line {
            name,
            id: short_id(manifest.text("ID")).to_owned(),
            disk: bytes(size.int("Total")),
            content: bytes(size.int("Content")),
            used: users(manifest) > 0,
            child: Some(index == last),
        });
    }
}
