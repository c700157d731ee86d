//! `$orderby`: expressions with a direction.

use super::check::Checker;
use super::error::{Error, ErrorKind};
use super::expr::Expr;
use super::lexer::Token;
use super::limits::Limits;
use super::model::{Model, Type};
use super::parse::Parser;

/// One item of `$orderby`.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderItem {
    /// What the rows are sorted by. Of an ordered type, or an enumeration (by the position of the
    /// members). Null is less than every value: first ascending, last descending.
    pub expr: Expr,
    /// Whether the greatest comes first.
    pub descending: bool,
}

/// Reads and checks the value of `$orderby`.
///
/// # Errors
/// Every [`ErrorKind`] but those of evaluation; an empty text and an expression without an order
/// are errors too.
pub fn order_by(text: &str, model: &Model, limits: &Limits) -> Result<Vec<OrderItem>, Error> {
    let mut parser = Parser::new(text, limits)?;
    let mut items = Vec::new();
    loop {
        let node = parser.expression(0)?;
        let descending = parser.take_word("desc")?;
        if !descending {
            parser.take_word("asc")?;
        }
        let expr = Checker::new(text, model).expr(node)?;
        if !(expr.ty.is_ordered() || matches!(expr.ty, Type::Enum(_))) {
            let message = format!("{} has no order to sort by", expr.ty);
            return Err(Error::new(ErrorKind::Type, text, expr.span, message));
        }
        items.push(OrderItem { expr, descending });
        if parser.at_end() {
            return Ok(items);
        }
        if !parser.take(&Token::Comma)? {
            let message = "expected `asc`, `desc`, `,` or the end";
            return Err(parser.error(ErrorKind::Syntax, message));
        }
    }
}
