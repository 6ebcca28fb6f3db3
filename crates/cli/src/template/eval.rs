//! Walks the tree over a value.

use super::{
    functions,
    parser::{Branch, Expr, Node, Pipe},
    show::show,
};
use crate::value::Value;

/// Fields that Go's types always have though JSON leaves them out when they are empty: absent means nil.
const OPTIONAL: [&str; 26] = [
    "Health",
    "Healthcheck",
    "Init",
    "SizeRw",
    "SizeRootFs",
    "StopTimeout",
    "StopSignal",
    "Shell",
    "ExposedPorts",
    "Mounts",
    "Annotations",
    "Tmpfs",
    "StorageOpt",
    "Sysctls",
    "MacAddress",
    "Parent",
    "Labels",
    "Volumes",
    "OnBuild",
    "NetworkDisabled",
    "Options",
    "Status",
    "UsageData",
    "ConfigFrom",
    "Descriptor",
    "Manifests",
];

/// The most a template may print: a loop over its own output must end.
const OUTPUT_MAX: usize = 256 << 20;

pub(super) fn render(source: &str, nodes: &[Node], data: &Value, kind: Option<&str>) -> Result<String, String> {
    let mut walker =
        Walker { source, kind, output: String::new(), variables: vec![(String::new(), data.clone())], stop: Stop::No };
    walker.list(nodes, data)?;
    Ok(walker.output)
}

#[derive(PartialEq)]
enum Stop {
    No,
    Break,
    Continue,
}

struct Walker<'a> {
    source: &'a str,
    kind: Option<&'a str>,
    output: String,
    variables: Vec<(String, Value)>,
    stop: Stop,
}

impl Walker<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        let scope = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
            if self.stop != Stop::No {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), String> {
        match node {
            Node::Text(text) => self.output.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.output.push_str(&show(&value));
                }
                if self.output.len() > OUTPUT_MAX {
                    return Err("the output is too long".to_owned());
                }
            }
            Node::If(branch) => {
                let scope = self.variables.len();
                let holds = truth(&self.pipe(&branch.pipe, dot)?);
                self.list(if holds { &branch.body } else { &branch.otherwise }, dot)?;
                self.variables.truncate(scope);
            }
            Node::With(branch) => {
                let scope = self.variables.len();
                let value = self.pipe(&branch.pipe, dot)?;
                match truth(&value) {
                    true => self.list(&branch.body, &value)?,
                    false => self.list(&branch.otherwise, dot)?,
                }
                self.variables.truncate(scope);
            }
            Node::Range(branch) => self.range(branch, dot)?,
            Node::Break => self.stop = Stop::Break,
            Node::Continue => self.stop = Stop::Continue,
        }
        Ok(())
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<(), String> {
        let scope = self.variables.len();
        let over = self.commands(&branch.pipe, dot)?;
        let pairs: Vec<(Value, Value)> = match over {
            Value::List(items) => items.into_iter().enumerate().map(|(i, item)| (Value::Int(i as i64), item)).collect(),
            Value::Map(mut entries) => {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries.into_iter().map(|(key, value)| (Value::Str(key), value)).collect()
            }
            Value::Int(count) => (0..count.max(0)).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            Value::Null => Vec::new(),
            other => return Err(format!("range can't iterate over {}", show(&other))),
        };
        if pairs.is_empty() {
            return self.list(&branch.otherwise, dot);
        }
        for (key, item) in pairs {
            match branch.pipe.variables.as_slice() {
                [] => {}
                [one] => self.set(one, item.clone(), branch.pipe.declares),
                [first, second, ..] => {
                    self.set(first, key, branch.pipe.declares);
                    self.set(second, item.clone(), branch.pipe.declares);
                }
            }
            self.list(&branch.body, &item)?;
            self.variables.truncate(scope);
            if std::mem::replace(&mut self.stop, Stop::No) == Stop::Break {
                break;
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value, declares: bool) {
        if !declares && let Some(entry) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            entry.1 = value;
            return;
        }
        self.variables.push((name.to_owned(), value));
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.declares);
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(&mut self, operands: &[Expr], piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        let Some((first, rest)) = operands.split_first() else { return Ok(Value::Null) };
        if let Expr::Function(name, at) = first {
            if name == "and" || name == "or" {
                return self.short_circuit(name == "and", rest, piped, dot);
            }
            let mut arguments = rest.iter().map(|expr| self.expr(expr, dot)).collect::<Result<Vec<_>, _>>()?;
            arguments.extend(piped);
            return functions::call(name, &arguments)
                .map_err(|why| self.failed(*at, name, &format!("error calling {name}: {why}")));
        }
        let value = self.expr(first, dot)?;
        let mut arguments = rest.iter().map(|expr| self.expr(expr, dot)).collect::<Result<Vec<_>, _>>()?;
        arguments.extend(piped);
        match value {
            Value::Method(method) => method(&arguments),
            value if arguments.is_empty() => Ok(value),
            _ => {
                let (text, at) = describe(first);
                Err(self.failed(at, &text, &format!("can't give argument to non-function {text}")))
            }
        }
    }

    fn short_circuit(&mut self, and: bool, rest: &[Expr], piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        let mut value = Value::Null;
        for expr in rest {
            value = self.expr(expr, dot)?;
            if truth(&value) != and {
                return Ok(value);
            }
        }
        Ok(piped.unwrap_or(value))
    }

    fn expr(&mut self, expr: &Expr, dot: &Value) -> Result<Value, String> {
        match expr {
            Expr::Dot => Ok(dot.clone()),
            Expr::Nil => Ok(Value::Null),
            Expr::Value(value) => Ok(value.clone()),
            Expr::Fields(names, at) => self.fields(dot.clone(), names, *at, expr),
            Expr::Variable(name, names, at) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = found.map(|(_, value)| value.clone()).unwrap_or_default();
                self.fields(value, names, *at, expr)
            }
            Expr::Function(name, at) => functions::call(name, &[])
                .map_err(|why| self.failed(*at, name, &format!("error calling {name}: {why}"))),
            Expr::Group(pipe, names, at) => {
                let value = self.pipe(pipe, dot)?;
                self.fields(value, names, *at, expr)
            }
        }
    }

    fn fields(&self, mut value: Value, names: &[String], at: usize, expr: &Expr) -> Result<Value, String> {
        for name in names {
            let next = match &value {
                Value::Map(_) => match value.get_any_case(name) {
                    Some(field) => Some(field.clone()),
                    None if OPTIONAL.contains(&name.as_str()) => Some(Value::Null),
                    None => None,
                },
                Value::Null => {
                    let (text, _) = describe(expr);
                    return Err(self.failed(at, &text, &format!("nil pointer evaluating interface {{}}.{name}")));
                }
                _ => {
                    let (text, _) = describe(expr);
                    let why = format!("can't evaluate field {name} in type {}", type_name(&value));
                    return Err(self.failed(at, &text, &why));
                }
            };
            value = next.ok_or_else(|| {
                let (text, _) = describe(expr);
                let why = match self.kind {
                    Some(kind) => format!("can't evaluate field {name} in type {kind}"),
                    None => format!("map has no entry for key {name:?}"),
                };
                self.failed(at, &text, &why)
            })?;
        }
        Ok(value)
    }

    fn failed(&self, at: usize, text: &str, why: &str) -> String {
        let before = &self.source[..at.min(self.source.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        format!("template: :{line}:{column}: executing \"\" at <{text}>: {why}")
    }
}

fn describe(expr: &Expr) -> (String, usize) {
    match expr {
        Expr::Fields(names, at) => (format!(".{}", names.join(".")), *at),
        Expr::Variable(name, names, at) => {
            (names.iter().fold(format!("${name}"), |text, field| format!("{text}.{field}")), *at)
        }
        Expr::Function(name, at) => (name.clone(), *at),
        Expr::Value(value) => (show(value), 0),
        Expr::Group(_, names, at) => (format!("(...).{}", names.join(".")), *at),
        Expr::Dot => (".".to_owned(), 0),
        Expr::Nil => ("nil".to_owned(), 0),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Str(_) => "string",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Uint(_) => "int",
        Value::Float(_) => "float64",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
        Value::Null => "nil",
        Value::Method(_) => "func",
    }
}

/// Whether Go's `if` takes it for true: not zero, not empty, not nil.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Uint(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Str(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(entries) => !entries.is_empty(),
        Value::Method(_) => true,
    }
}
