//! The subset of Go's templates that docker's users write in `--format`: fields, pipes, variables, `range`, `if`,
//! `with`, comments, trim marks, and the functions of the language and of docker.

mod eval;
mod functions;
mod lexer;
mod parser;
mod printf;
mod show;

pub use parser::Template;

#[cfg(test)]
mod tests;
