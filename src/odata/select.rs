//! `$select`: which properties an answer keeps.

use super::check::Checker;
use super::error::{Error, ErrorKind};
use super::expr::Path;
use super::lexer::Token;
use super::limits::Limits;
use super::model::Model;
use super::parse::Parser;
use super::syntax::NodeKind;

/// The value of `$select`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// Everything: one of the items was `*`.
    All,
    /// These paths only, in the order they were given.
    Paths(Vec<Path>),
}

/// Reads and checks the value of `$select`.
///
/// # Errors
/// [`ErrorKind::Syntax`] where something else than a path or `*` stands,
/// [`ErrorKind::UnknownProperty`] for a path the model does not declare, [`ErrorKind::Limit`].
pub fn select(text: &str, model: &Model, limits: &Limits) -> Result<Select, Error> {
    let mut parser = Parser::new(text, limits)?;
    let mut paths = Vec::new();
    let mut all = false;
    loop {
        if parser.take(&Token::Star)? {
            all = true;
        } else {
            let node = parser.operand()?;
            let (false, NodeKind::Path(path)) = (node.grouped, node.kind) else {
                let message = "only paths and `*` can be selected";
                return Err(Error::new(ErrorKind::Syntax, text, node.span, message));
            };
            paths.push(Checker::new(text, model).resolve(path, node.span)?.0);
        }
        if parser.at_end() {
            return Ok(if all { Select::All } else { Select::Paths(paths) });
        }
        if !parser.take(&Token::Comma)? {
            return Err(parser.error(ErrorKind::Syntax, "expected `,` or the end"));
        }
    }
}
