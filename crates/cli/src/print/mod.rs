//! Lists: rows of named fields, printed as a table, as JSON, or by a template.

mod columns;
pub mod ports;
mod progress;

pub use columns::{table, table_with};
pub use progress::show_progress;

use crate::{
    failure::{Failure, Result},
    template::Template,
    value::Value,
};

/// A kind of list.
#[derive(Debug)]
pub struct Listing<'a> {
    /// The type that errors about unknown fields name.
    pub kind: &'static str,
    /// The fields with their headings, in any order.
    pub headings: &'static [(&'static str, &'static str)],
    /// The template of `table`.
    pub table: &'a str,
    /// The template of `--quiet`.
    pub quiet: &'a str,
    /// The template of `raw`; empty where there is no such form.
    pub raw: &'a str,
}

/// One row: fields by name.
pub type Row = Vec<(String, Value)>;

/// Makes a row of fields and values.
pub fn row<const N: usize>(fields: [(&str, Value); N]) -> Row {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Listing<'_> {
    /// Prints `rows` by `format`, the text of `--format` or of the configuration; empty means a table.
    pub fn render(&self, format: &str, quiet: bool, rows: Vec<Row>) -> Result<String> {
        let format = format.trim_matches(' ');
        let is_table = format.is_empty() || format.starts_with("table");
        if quiet && !is_table {
            eprintln!("WARNING: Ignoring custom format, because both --format and --quiet are set.");
        }
        match format {
            _ if quiet => self.lines(self.quiet, rows),
            "" | "table" => self.table(self.table, rows),
            "json" => self.lines("{{json .}}", rows),
            "raw" if !self.raw.is_empty() => self.lines(self.raw, rows),
            _ => match format.strip_prefix("table") {
                Some(template) => self.table(template.trim_start(), rows),
                None => self.lines(format, rows),
            },
        }
    }

    fn lines(&self, template: &str, rows: Vec<Row>) -> Result<String> {
        let template = self.parse(template)?;
        rows.into_iter().try_fold(String::new(), |mut text, row| {
            text.push_str(&self.fill(&template, row)?);
            text.push('\n');
            Ok(text)
        })
    }

    fn table(&self, template: &str, rows: Vec<Row>) -> Result<String> {
        let template = self.parse(template)?;
        let headings = self.headings.iter().map(|(field, heading)| ((*field).to_owned(), (*heading).into()));
        let headings: Row = headings.chain([("Label".to_owned(), heading_of_label())]).collect();
        let mut text = self.fill(&template, headings)? + "\n";
        for row in rows {
            text.push_str(&self.fill(&template, row)?);
            text.push('\n');
        }
        Ok(table(&text))
    }

    fn parse(&self, template: &str) -> Result<Template> {
        Template::parse(&unescape(template))
            .map_err(|error| Failure::message(format!("template parsing error: {error}")))
    }

    fn fill(&self, template: &Template, mut row: Row) -> Result<String> {
        // `{{json .}}` prints the fields in alphabetical order.
        row.sort_by(|a, b| a.0.cmp(&b.0));
        template
            .render(&Value::Map(row), Some(self.kind))
            .map_err(|error| Failure::message(format!("failed to execute template: {error}")))
    }
}

/// The words `\t` and `\n` of a template that a shell passed on literally.
fn unescape(template: &str) -> String {
    template.replace("\\t", "\t").replace("\\n", "\n")
}

/// The heading of `{{.Label "com.example.some_name"}}`: the last part of the key, as words.
fn heading_of_label() -> Value {
    Value::Method(std::sync::Arc::new(|arguments| {
        let key = arguments.first().and_then(Value::as_str).unwrap_or_default();
        let last = key.rsplit('.').next().unwrap_or(key);
        Ok(Value::Str(last.replace(['-', '_'], " ")))
    }))
}

/// `.Label "key"` of a row.
pub fn label_method(labels: &Value) -> Value {
    let labels = labels.clone();
    Value::Method(std::sync::Arc::new(move |arguments| {
        let key = arguments.first().and_then(Value::as_str).unwrap_or_default();
        Ok(Value::from(labels.text(key)))
    }))
}

/// Labels as lists print them: `a=1,b=2`.
pub fn labels_text(labels: &Value) -> String {
    let mut pairs: Vec<String> =
        labels.entries().iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.sort();
    pairs.join(",")
}

/// The first twelve digits of an id, without `sha256:`.
pub fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.get(..12).unwrap_or(id)
}

/// At most `columns` columns, the last one an ellipsis where text was cut.
pub fn ellipsis(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    match columns {
        0 => String::new(),
        _ => text.chars().take(columns - 1).chain(['\u{2026}']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Listing<'_> = Listing {
        kind: "*t",
        headings: &[("ID", "THING ID"), ("Name", "NAME")],
        table: "{{.ID}}\t{{.Name}}",
        quiet: "{{.ID}}",
        raw: "",
    };

    fn check(format: &str, quiet: bool, want: &str) {
        let labels = Value::Map(vec![("a.b".into(), "x".into())]);
        let rows = vec![
            vec![("ID".into(), "1".into()), ("Name".into(), "first".into()), ("Label".into(), label_method(&labels))],
            vec![("ID".into(), "234".into()), ("Name".into(), "s".into()), ("Label".into(), label_method(&labels))],
        ];
        assert_eq!(LISTING.render(format, quiet, rows).unwrap_or_else(|e| e.text()), want, "{format}");
    }

    #[test]
    fn every_form_of_a_list() {
        check("", false, "THING ID   NAME\n1          first\n234        s\n");
        check("", true, "1\n234\n");
        check("json", false, "{\"ID\":\"1\",\"Name\":\"first\"}\n{\"ID\":\"234\",\"Name\":\"s\"}\n");
        check("table {{.Name}}\\t{{.Label \"a.b\"}}", false, "NAME      b\nfirst     x\ns         x\n");
        check("{{.Name}}", false, "first\ns\n");
        check(
            "{{.Nope}}",
            false,
            "failed to execute template: template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *t",
        );
    }
}
