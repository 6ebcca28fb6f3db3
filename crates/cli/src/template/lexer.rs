//! Text and actions into tokens.

/// A token with its place: a byte offset in the template.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Tok,
    pub(super) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok {
    /// Literal text between actions.
    Text(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// `.`.
    Dot,
    /// `.Name`, without its dot.
    Field(String),
    /// `$` or `$name`.
    Variable(String),
    /// A function or a keyword.
    Word(String),
    Str(String),
    Int(i64),
    Float(f64),
    Pipe,
    /// `:=`.
    Declare,
    /// `=`.
    Assign,
    Comma,
    Left,
    Right,
    Space,
}

/// Takes the whole template apart; an error is Go's text after `template: :LINE: `.
pub(super) fn lex(source: &str) -> Result<Vec<Token>, (usize, String)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    loop {
        let rest = &source[at..];
        let open = rest.find("{{");
        let text = &rest[..open.unwrap_or(rest.len())];
        let mut shown = if trim_next { text.trim_start_matches(is_space) } else { text };
        let Some(open) = open else {
            push_text(&mut tokens, shown, at);
            return Ok(tokens);
        };
        let trims = rest[open..].starts_with("{{-") && rest[open + 3..].starts_with(is_space);
        if trims {
            shown = shown.trim_end_matches(is_space);
        }
        push_text(&mut tokens, shown, at);
        let mut inside = at + open + if trims { 3 } else { 2 };
        if source[inside..].trim_start_matches(is_space).starts_with("/*") {
            (at, trim_next) = skip_comment(source, inside)?;
            continue;
        }
        tokens.push(Token { kind: Tok::Open, at: at + open });
        trim_next = lex_action(source, &mut inside, &mut tokens)?;
        at = inside;
    }
}

fn push_text(tokens: &mut Vec<Token>, text: &str, at: usize) {
    if !text.is_empty() {
        tokens.push(Token { kind: Tok::Text(text.to_owned()), at });
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn skip_comment(source: &str, from: usize) -> Result<(usize, bool), (usize, String)> {
    let unclosed = || (from, "unclosed comment".to_owned());
    let end = from + source[from..].find("*/").ok_or_else(unclosed)? + 2;
    let rest = source[end..].trim_start_matches(is_space);
    let trims = rest.starts_with("-}}");
    if !trims && !source[end..].starts_with("}}") {
        return Err((end, "comment ends before closing delimiter".to_owned()));
    }
    let close = end + source[end..].find("}}").ok_or_else(unclosed)? + 2;
    Ok((close, trims))
}

/// Reads one action up to its `}}`; whether the text after it is trimmed.
fn lex_action(source: &str, at: &mut usize, tokens: &mut Vec<Token>) -> Result<bool, (usize, String)> {
    loop {
        let rest = &source[*at..];
        let start = *at;
        let unclosed = || (start, "unclosed action".to_owned());
        let c = rest.chars().next().ok_or_else(unclosed)?;
        let (kind, length) = match c {
            _ if rest.starts_with("}}") => {
                tokens.push(Token { kind: Tok::Close, at: start });
                *at += 2;
                return Ok(false);
            }
            c if is_space(c) => {
                let length = rest.len() - rest.trim_start_matches(is_space).len();
                if rest[length..].starts_with("-}}") {
                    tokens.push(Token { kind: Tok::Close, at: start });
                    *at += length + 3;
                    return Ok(true);
                }
                (Tok::Space, length)
            }
            '|' => (Tok::Pipe, 1),
            '(' => (Tok::Left, 1),
            ')' => (Tok::Right, 1),
            ',' => (Tok::Comma, 1),
            ':' if rest.starts_with(":=") => (Tok::Declare, 2),
            ':' => return Err((start, "expected :=".to_owned())),
            '=' => (Tok::Assign, 1),
            '"' => lex_quoted(rest).ok_or((start, "unterminated quoted string".to_owned()))?,
            '`' => {
                let end = rest[1..].find('`').ok_or((start, "unterminated raw quoted string".to_owned()))?;
                (Tok::Str(rest[1..=end].to_owned()), end + 2)
            }
            '\'' => lex_char(rest).ok_or((start, "unterminated character constant".to_owned()))?,
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let name = word(&rest[1..]);
                if name.is_empty() { (Tok::Dot, 1) } else { (Tok::Field(name.to_owned()), name.len() + 1) }
            }
            '$' => {
                let name = word(&rest[1..]);
                (Tok::Variable(name.to_owned()), name.len() + 1)
            }
            c if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') => lex_number(rest)
                .ok_or_else(|| (start, format!("bad number syntax: {:?}", rest.chars().take(8).collect::<String>())))?,
            c if c.is_alphabetic() || c == '_' => {
                let name = word(rest);
                (Tok::Word(name.to_owned()), name.len())
            }
            other => {
                let code = other as u32;
                return Err((start, format!("unrecognized character in action: U+{code:04X} {other:?}")));
            }
        };
        tokens.push(Token { kind, at: start });
        *at += length;
    }
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

fn lex_number(text: &str) -> Option<(Tok, usize)> {
    let end = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || (*i == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(i, _)| i);
    let word = &text[..end];
    if let Ok(value) = crate::args::parse_int(word) {
        return Some((Tok::Int(value), end));
    }
    word.parse().ok().map(|value| (Tok::Float(value), end))
}

fn lex_char(text: &str) -> Option<(Tok, usize)> {
    let (content, length) = unquote(text, '\'')?;
    let mut chars = content.chars();
    let c = chars.next()?;
    chars.next().is_none().then_some((Tok::Int(i64::from(c as u32)), length))
}

fn lex_quoted(text: &str) -> Option<(Tok, usize)> {
    let (content, length) = unquote(text, '"')?;
    Some((Tok::Str(content), length))
}

/// The content of a quoted literal and its length with the quotes.
fn unquote(text: &str, quote: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((content, at + 1));
        }
        if c == '\n' {
            return None;
        }
        if c != '\\' {
            content.push(c);
            continue;
        }
        let (_, escaped) = chars.next()?;
        match escaped {
            'n' => content.push('\n'),
            't' => content.push('\t'),
            'r' => content.push('\r'),
            'a' => content.push('\u{7}'),
            'b' => content.push('\u{8}'),
            'f' => content.push('\u{c}'),
            'v' => content.push('\u{b}'),
            '\\' | '"' | '\'' => content.push(escaped),
            'x' | 'u' | 'U' => {
                let digits = match escaped {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                content.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
            }
            _ => return None,
        }
    }
    None
}
