//! Tokens into a tree, and the public face of a template.

use super::{
    eval, functions,
    lexer::{Tok, Token, lex},
};
use crate::value::Value;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    source: String,
    nodes: Vec<Node>,
}

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands joined by `|`, with the variables that take the result.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) variables: Vec<String>,
    pub(super) declares: bool,
    pub(super) commands: Vec<Vec<Expr>>,
}

#[derive(Debug)]
pub(super) enum Expr {
    Dot,
    Nil,
    Value(Value),
    /// `.A.B`: its text is printed in errors, its place is that of the last but first dot, as in Go.
    Fields(Vec<String>, usize),
    Variable(String, Vec<String>, usize),
    Function(String, usize),
    /// `(pipe).A.B`.
    Group(Box<Pipe>, Vec<String>, usize),
}

/// Deepest nesting of blocks and parentheses.
const DEPTH_MAX: usize = 64;

impl Template {
    /// Parses `source`; the error reads as Go's, with the template's name left empty.
    pub fn parse(source: &str) -> Result<Self, String> {
        let line = |at: usize| source[..at.min(source.len())].matches('\n').count() + 1;
        let named = |(at, message): (usize, String)| format!("template: :{}: {message}", line(at));
        let tokens = lex(source).map_err(named)?;
        let end = source.len();
        let mut parser = Parser { tokens, next: 0, end, variables: vec![String::new()], depth: 0, loops: 0 };
        let (nodes, stop) = parser.list().map_err(named)?;
        if let Some(stop) = stop {
            return Err(named((end, format!("unexpected {{{{{stop}}}}}"))));
        }
        Ok(Self { source: source.to_owned(), nodes })
    }

    /// Fills in `data`. `kind` is the Go type that errors about missing fields name; without one, a missing field is
    /// a missing key.
    pub fn render(&self, data: &Value, kind: Option<&str>) -> Result<String, String> {
        eval::render(&self.source, &self.nodes, data, kind)
    }
}

type Parsed<T> = Result<T, (usize, String)>;

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    end: usize,
    variables: Vec<String>,
    depth: usize,
    loops: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Tok> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |token| token.at)
    }

    fn take(&mut self) -> Option<Tok> {
        let token = self.tokens.get(self.next).map(|token| token.kind.clone());
        self.next += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Tok::Space) {
            self.next += 1;
        }
    }

    fn unexpected<T>(&self, place: &str) -> Parsed<T> {
        let what = match self.peek() {
            None => return Err((self.end, "unexpected EOF".to_owned())),
            Some(Tok::Close) => "\"}}\"".to_owned(),
            Some(Tok::Word(word)) => format!("<{word}>"),
            Some(Tok::Pipe) => "\"|\"".to_owned(),
            Some(Tok::Right) => "\")\"".to_owned(),
            Some(Tok::Assign) => "\"=\"".to_owned(),
            Some(Tok::Comma) => "\",\"".to_owned(),
            Some(Tok::Field(name)) => format!("<.{name}>"),
            Some(Tok::Str(text)) => format!("{text:?}"),
            Some(other) => format!("{other:?}"),
        };
        Err((self.at(), format!("unexpected {what} in {place}")))
    }

    /// Nodes up to `end` or `else`, or to the end of the template.
    fn list(&mut self) -> Parsed<(Vec<Node>, Option<String>)> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err((self.at(), "nested too deeply".to_owned()));
        }
        let mut nodes = Vec::new();
        let stop = loop {
            match self.take() {
                None => break None,
                Some(Tok::Text(text)) => nodes.push(Node::Text(text)),
                Some(_) => {
                    self.skip_space();
                    let word = match self.peek() {
                        Some(Tok::Word(word)) => word.clone(),
                        _ => String::new(),
                    };
                    match word.as_str() {
                        "end" | "else" => {
                            self.next += 1;
                            break Some(word);
                        }
                        _ => nodes.push(self.action(&word)?),
                    }
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, stop))
    }

    fn action(&mut self, word: &str) -> Parsed<Node> {
        match word {
            "if" => Ok(Node::If(self.branch("if")?)),
            "with" => Ok(Node::With(self.branch("with")?)),
            "range" => {
                self.loops += 1;
                let branch = self.branch("range")?;
                self.loops -= 1;
                Ok(Node::Range(branch))
            }
            "break" | "continue" if self.loops > 0 => {
                self.next += 1;
                self.close(word)?;
                Ok(if word == "break" { Node::Break } else { Node::Continue })
            }
            "break" | "continue" => Err((self.at(), format!("{{{{{word}}}}} outside {{{{range}}}}"))),
            "define" | "template" | "block" => Err((self.at(), format!("{{{{{word}}}}} is not supported in --format"))),
            _ => {
                let pipe = self.pipe("command", false)?;
                self.close("command")?;
                Ok(Node::Action(pipe))
            }
        }
    }

    fn close(&mut self, place: &str) -> Parsed<()> {
        self.skip_space();
        if self.peek() != Some(&Tok::Close) {
            return self.unexpected(place);
        }
        self.next += 1;
        Ok(())
    }

    fn branch(&mut self, word: &str) -> Parsed<Branch> {
        self.next += 1;
        let scope = self.variables.len();
        let pipe = self.pipe(word, word == "range")?;
        self.close(word)?;
        let (body, stop) = self.list()?;
        let otherwise = match stop.as_deref() {
            None => return Err((self.end, "unexpected EOF".to_owned())),
            Some("else") => self.otherwise(word)?,
            _ => {
                self.close("end")?;
                Vec::new()
            }
        };
        self.variables.truncate(scope);
        Ok(Branch { pipe, body, otherwise })
    }

    /// What follows `{{else`: another branch, or nodes up to `{{end}}`.
    fn otherwise(&mut self, word: &str) -> Parsed<Vec<Node>> {
        self.skip_space();
        match self.peek() {
            Some(Tok::Word(next)) if next == word && word != "range" => {
                let branch = self.branch(word)?;
                Ok(vec![if word == "if" { Node::If(branch) } else { Node::With(branch) }])
            }
            _ => {
                self.close("else")?;
                match self.list()? {
                    (_, None) => Err((self.end, "unexpected EOF".to_owned())),
                    (_, Some(stop)) if stop == "else" => Err((self.at(), "expected end; found {{else}}".to_owned())),
                    (nodes, _) => {
                        self.close("end")?;
                        Ok(nodes)
                    }
                }
            }
        }
    }

    fn pipe(&mut self, place: &str, two_variables: bool) -> Parsed<Pipe> {
        let (variables, declares) = self.declarations(two_variables)?;
        let mut commands = Vec::new();
        loop {
            let command = self.command(place)?;
            if command.is_empty() {
                return match commands.is_empty() && self.peek() == Some(&Tok::Close) {
                    true => Err((self.at(), format!("missing value for {place}"))),
                    false => self.unexpected(place),
                };
            }
            commands.push(command);
            self.skip_space();
            if self.peek() == Some(&Tok::Pipe) {
                self.next += 1;
            } else {
                break;
            }
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { variables, declares, commands })
    }

    /// `$x :=`, `$x =`, `$k, $v :=`; nothing is taken where none stands.
    fn declarations(&mut self, two: bool) -> Parsed<(Vec<String>, bool)> {
        let start = self.next;
        let mut names = Vec::new();
        loop {
            self.skip_space();
            let Some(Tok::Variable(name)) = self.peek().cloned() else { break };
            self.next += 1;
            names.push(name);
            self.skip_space();
            match self.peek() {
                Some(Tok::Declare) => {
                    self.next += 1;
                    return Ok((names, true));
                }
                Some(Tok::Assign) => {
                    self.next += 1;
                    return Ok((names, false));
                }
                Some(Tok::Comma) if two && names.len() == 1 => self.next += 1,
                _ => break,
            }
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, place: &str) -> Parsed<Vec<Expr>> {
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                None => return Err((self.end, "unclosed action".to_owned())),
                Some(Tok::Close | Tok::Pipe | Tok::Right) => return Ok(operands),
                Some(_) => operands.push(self.operand(place)?),
            }
        }
    }

    fn operand(&mut self, place: &str) -> Parsed<Expr> {
        let at = self.at();
        let Some(token) = self.take() else { return Err((self.end, "unexpected EOF".to_owned())) };
        let expr = match token {
            Tok::Dot => Expr::Dot,
            Tok::Field(first) => {
                let (rest, place) = self.chain();
                let at = place.unwrap_or(at);
                let mut names = vec![first];
                names.extend(rest);
                Expr::Fields(names, at)
            }
            Tok::Variable(name) => {
                if !self.variables.contains(&name) {
                    return Err((at, format!("undefined variable \"${name}\"")));
                }
                let (names, place) = self.chain();
                Expr::Variable(name, names, place.unwrap_or(at))
            }
            Tok::Str(text) => Expr::Value(Value::Str(text)),
            Tok::Int(value) => Expr::Value(Value::Int(value)),
            Tok::Float(value) => Expr::Value(Value::Float(value)),
            Tok::Word(word) => match word.as_str() {
                "true" => Expr::Value(Value::Bool(true)),
                "false" => Expr::Value(Value::Bool(false)),
                "nil" => Expr::Nil,
                name if functions::exists(name) => Expr::Function(word, at),
                name => return Err((at, format!("function {name:?} not defined"))),
            },
            Tok::Left => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err((at, "nested too deeply".to_owned()));
                }
                let pipe = self.pipe("parenthesized pipeline", false)?;
                self.skip_space();
                if self.take() != Some(Tok::Right) {
                    return Err((at, "unclosed left paren".to_owned()));
                }
                self.depth -= 1;
                let (names, place) = self.chain();
                Expr::Group(Box::new(pipe), names, place.unwrap_or(at))
            }
            _ => {
                self.next -= 1;
                return self.unexpected(place);
            }
        };
        match self.peek() {
            None | Some(Tok::Space | Tok::Close | Tok::Pipe | Tok::Right) => Ok(expr),
            _ => self.unexpected("operand"),
        }
    }

    /// `.A.B` straight after an operand, and where it begins.
    fn chain(&mut self) -> (Vec<String>, Option<usize>) {
        let mut names = Vec::new();
        let mut place = None;
        while let Some(Tok::Field(name)) = self.peek().cloned() {
            place.get_or_insert(self.at());
            names.push(name);
            self.next += 1;
        }
        (names, place)
    }
}
