//! What stands between operators: literals, paths, calls, `case`, lambdas, parentheses, prefixes.

use super::Parser;
use crate::odata::error::{Error, ErrorKind};
use crate::odata::lexer::Token;
use crate::odata::literal;
use crate::odata::syntax::{Node, NodeKind, PREFIX_POWER, Quantifier, Span};
use crate::odata::value::Value;

impl<'a> Parser<'a> {
    /// One operand, with the prefix operators before it and the `in` after it, both of which bind
    /// tighter than any operator between operands.
    pub(in crate::odata) fn operand(&mut self) -> Result<Node<'a>, Error> {
        let mut operand = self.primary()?;
        while self.take_word("in")? {
            operand = self.membership(operand)?;
        }
        Ok(operand)
    }

    fn primary(&mut self) -> Result<Node<'a>, Error> {
        let start = self.span;
        if self.take(&Token::Open)? {
            return self.group(start);
        }
        if self.take(&Token::Minus)? {
            return self.prefixed(start, NodeKind::Negate);
        }
        if let Some(value) = self.literal()? {
            let span = Span { start: start.start, end: self.last_end };
            return self.node(NodeKind::Literal(value), span, 0);
        }
        let Token::Name(name) = self.token else {
            return Err(self.error(ErrorKind::Syntax, "expected a property, a literal or a call"));
        };
        self.advance()?;
        if name.eq_ignore_ascii_case("not") {
            return self.prefixed(start, NodeKind::Not);
        }
        if self.token == Token::Open { self.call(name, start) } else { self.path(start) }
    }

    /// An expression in parentheses, of which the first has been taken.
    fn group(&mut self, start: Span) -> Result<Node<'a>, Error> {
        self.enter()?;
        let mut inner = self.expression(0)?;
        self.leave();
        inner.span = start.to(self.span);
        inner.grouped = true;
        self.expect(&Token::Close, "`)` or an operator")?;
        Ok(inner)
    }

    /// The operand of a prefix operator that has been taken.
    fn prefixed(
        &mut self,
        start: Span,
        kind: fn(Box<Node<'a>>) -> NodeKind<'a>,
    ) -> Result<Node<'a>, Error> {
        self.enter()?;
        let operand = Box::new(self.expression(PREFIX_POWER)?);
        self.leave();
        let (span, height) = (start.to(operand.span), operand.height);
        self.node(kind(operand), span, height)
    }

    /// The literal at the current token, if one stands there; the token is then taken.
    pub(super) fn literal(&mut self) -> Result<Option<Value>, Error> {
        let value = match &mut self.token {
            Token::Literal(value) => std::mem::take(value),
            Token::Text(text) => Value::String(std::mem::take(text).into_owned()),
            Token::Name(name) => {
                let name = *name;
                if self.source[self.span.end..].starts_with('\'') {
                    return self.prefixed_literal(name).map(Some);
                }
                match literal::boolean(name) {
                    Some(boolean) => Value::Boolean(boolean),
                    None if name.eq_ignore_ascii_case("null") => Value::Null,
                    None => return Ok(None),
                }
            }
            Token::Open
            | Token::Close
            | Token::Comma
            | Token::Colon
            | Token::Slash
            | Token::Star
            | Token::Minus
            | Token::End => return Ok(None),
        };
        self.advance()?;
        Ok(Some(value))
    }

    /// `duration'PT1H'`; the other prefixes (`binary`, `geography`, names of enumerations) are not
    /// supported.
    fn prefixed_literal(&mut self, prefix: &str) -> Result<Value, Error> {
        let start = self.span;
        if !prefix.eq_ignore_ascii_case("duration") {
            let message = format!("literals with the prefix `{prefix}` are not supported");
            return Err(self.error(ErrorKind::Unsupported, &message));
        }
        self.advance()?;
        let span = start.to(self.span);
        let quoted = if let Token::Text(text) = &self.token { Some(text) } else { None };
        let Some(duration) = quoted.and_then(|text| literal::duration(text)) else {
            let message = "this is not a duration such as `duration'P1DT2H3M4.5S'`";
            return Err(Error::new(ErrorKind::Literal, self.source, span, message));
        };
        self.advance()?;
        Ok(Value::Duration(duration))
    }

    /// The rest of a path whose first segment has been taken, and the lambda it may end with.
    fn path(&mut self, first: Span) -> Result<Node<'a>, Error> {
        let mut span = first;
        let mut segments = 0;
        while self.token == Token::Slash {
            let slash = self.span;
            self.advance()?;
            let Token::Name(name) = self.token else {
                return Err(self.error(ErrorKind::Syntax, "expected a name after `/`"));
            };
            if slash.start != span.end || self.span.start != slash.end {
                return Err(self.error(ErrorKind::Syntax, "a path has no blanks around `/`"));
            }
            let segment = self.span;
            self.count_node(segment)?;
            segments += 1;
            if segments >= self.limits.nesting {
                return Err(self.too_deep(segment));
            }
            self.advance()?;
            if self.token == Token::Open {
                let collection = &self.source[span.start..span.end];
                return self.lambda(name, collection, span.to(segment));
            }
            span = span.to(segment);
        }
        self.node(NodeKind::Path(&self.source[span.start..span.end]), span, 0)
    }

    /// `any(x:predicate)`, `any()`, `all(x:predicate)`; the name has been taken.
    fn lambda(
        &mut self,
        name: &str,
        collection: &'a str,
        mut span: Span,
    ) -> Result<Node<'a>, Error> {
        let quantifier = match name {
            _ if name.eq_ignore_ascii_case("any") => Quantifier::Any,
            _ if name.eq_ignore_ascii_case("all") => Quantifier::All,
            _ => {
                let message = format!("`{name}` cannot be called on a path; `any` and `all` can");
                return Err(Error::new(ErrorKind::UnknownFunction, self.source, span, message));
            }
        };
        self.advance()?;
        let mut height = 0;
        let body = if self.token == Token::Close && quantifier == Quantifier::Any {
            None
        } else {
            let Token::Name(variable) = self.token else {
                let message = "expected a variable, as in `any(x:x eq 1)`";
                return Err(self.error(ErrorKind::Syntax, message));
            };
            self.advance()?;
            self.expect(&Token::Colon, "`:` after the variable")?;
            self.enter()?;
            let predicate = self.expression(0)?;
            self.leave();
            height = predicate.height;
            Some((variable, Box::new(predicate)))
        };
        span = span.to(self.span);
        self.expect(&Token::Close, "`)` or an operator")?;
        self.node(NodeKind::Lambda { quantifier, collection, body }, span, height)
    }

    /// `name(argument,...)`; the name has been taken.
    fn call(&mut self, name: &'a str, start: Span) -> Result<Node<'a>, Error> {
        self.advance()?;
        if name.eq_ignore_ascii_case("case") {
            return self.case(start);
        }
        self.enter()?;
        let mut arguments = Vec::new();
        if self.token != Token::Close {
            arguments.push(self.expression(0)?);
            while self.take(&Token::Comma)? {
                arguments.push(self.expression(0)?);
            }
        }
        self.leave();
        let span = start.to(self.span);
        self.expect(&Token::Close, "`,`, `)` or an operator")?;
        let height = arguments.iter().map(|argument| argument.height).max().unwrap_or(0);
        self.node(NodeKind::Call(name, arguments), span, height)
    }

    /// `case(condition:value,...)`; the parenthesis has been taken.
    fn case(&mut self, start: Span) -> Result<Node<'a>, Error> {
        self.enter()?;
        let mut arms = Vec::new();
        let mut height = 0;
        loop {
            let condition = self.expression(0)?;
            self.expect(&Token::Colon, "`:` between the condition and its value")?;
            let value = self.expression(0)?;
            height = height.max(condition.height).max(value.height);
            arms.push((condition, value));
            if !self.take(&Token::Comma)? {
                break;
            }
        }
        self.leave();
        let span = start.to(self.span);
        self.expect(&Token::Close, "`,`, `)` or an operator")?;
        self.node(NodeKind::Case(arms), span, height)
    }
}
