//! Tokens to a tree: one binding-power table ([`OPERATORS`]) and one generic loop
//! ([`Parser::expression`]), guarded by [`Limits`].

use super::error::{Error, ErrorKind, did_you_mean};
use super::lexer::{Lexer, Token};
use super::limits::Limits;
use super::syntax::{Infix, Node, NodeKind, OPERATORS, Span};

mod operand;

/// The parser: a lexer with one token of look-ahead, and what has been used of the limits.
pub(super) struct Parser<'a> {
    source: &'a str,
    lexer: Lexer<'a>,
    limits: &'a Limits,
    token: Token<'a>,
    span: Span,
    /// End of the token before the current one.
    last_end: usize,
    nodes: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// A parser at the first token of `source`.
    pub(super) fn new(source: &'a str, limits: &'a Limits) -> Result<Self, Error> {
        if source.len() > limits.text_bytes {
            let message = format!(
                "the text has {} bytes; at most {} are read",
                source.len(),
                limits.text_bytes
            );
            return Err(Error::about(ErrorKind::Limit, source, 0, message));
        }
        let mut lexer = Lexer::new(source);
        let (token, span) = lexer.next()?;
        Ok(Self { source, lexer, limits, token, span, last_end: 0, nodes: 0, depth: 0 })
    }

    /// A whole text that is one expression.
    pub(super) fn whole(mut self) -> Result<Node<'a>, Error> {
        let node = self.expression(0)?;
        if self.token == Token::End { Ok(node) } else { Err(self.unexpected_after_operand()) }
    }

    /// An expression of operators that bind at least as tightly as `power`.
    ///
    /// Operands that wait for a tighter operator to their right wait in a list, not in a stack
    /// frame: the recursion is as deep as the nesting, which [`Parser::enter`] limits.
    pub(super) fn expression(&mut self, power: u8) -> Result<Node<'a>, Error> {
        let mut waiting: Vec<(Node<'a>, Infix, u8)> = Vec::new();
        let mut operand = self.operand()?;
        loop {
            let next = self.operator().filter(|(_, binds)| *binds >= power);
            while let Some((left, operator, _)) = waiting
                .pop_if(|(_, _, binds)| next.is_none_or(|(_, next_binds)| *binds >= next_binds))
            {
                operand = self.join(left, operator, operand)?;
            }
            let Some((operator, binds)) = next else { return Ok(operand) };
            self.advance()?;
            waiting.push((operand, operator, binds));
            operand = self.operand()?;
        }
    }

    /// One node of two operands; a chain of `and`s or of `or`s is one node, however long.
    fn join(
        &mut self,
        mut left: Node<'a>,
        operator: Infix,
        right: Node<'a>,
    ) -> Result<Node<'a>, Error> {
        let span = left.span.to(right.span);
        let height = left.height.max(right.height);
        let kind = match (operator, &mut left.kind) {
            (Infix::And, NodeKind::And(chain)) | (Infix::Or, NodeKind::Or(chain))
                if !left.grouped =>
            {
                left.span = span;
                left.height = self.height_above((left.height - 1).max(right.height), span)?;
                chain.push(right);
                return Ok(left);
            }
            (Infix::And, _) => NodeKind::And(vec![left, right]),
            (Infix::Or, _) => NodeKind::Or(vec![left, right]),
            (Infix::Compare(comparison), _) => {
                NodeKind::Compare(comparison, Box::new([left, right]))
            }
            (Infix::Arithmetic(operator), _) => {
                NodeKind::Arithmetic(operator, Box::new([left, right]))
            }
        };
        self.node(kind, span, height)
    }

    /// The list after an `in` that has been taken: literals only, with a limit of their own.
    fn membership(&mut self, subject: Node<'a>) -> Result<Node<'a>, Error> {
        let only_literals = "`in` takes a list of literals in parentheses";
        if self.token != Token::Open {
            let hint = format!("{only_literals}; for a collection use `any`");
            return Err(self.error(ErrorKind::Syntax, &hint));
        }
        self.advance()?;
        let mut items = Vec::new();
        while self.token != Token::Close {
            if items.len() == self.limits.list_items {
                let message = format!("a list has at most {} members", self.limits.list_items);
                return Err(self.error(ErrorKind::Limit, &message));
            }
            let span = self.span;
            let Some(value) = self.literal()? else {
                return Err(Error::new(ErrorKind::Syntax, self.source, span, only_literals));
            };
            items.push((value, Span { start: span.start, end: self.last_end }));
            if self.token == Token::Comma {
                self.advance()?;
                if self.token == Token::Close {
                    return Err(self.error(ErrorKind::Syntax, "a literal must follow the comma"));
                }
            } else if self.token != Token::Close {
                return Err(self.error(ErrorKind::Syntax, "expected `,` or `)` in the list"));
            }
        }
        let span = subject.span.to(self.span);
        self.advance()?;
        let height = subject.height;
        self.node(NodeKind::In(Box::new(subject), items), span, height)
    }

    /// The operator at the current token, if one stands there.
    fn operator(&self) -> Option<(Infix, u8)> {
        let Token::Name(name) = self.token else { return None };
        let named = |(operator, _, _): &&(&str, Infix, u8)| operator.eq_ignore_ascii_case(name);
        OPERATORS.iter().find(named).map(|(_, operator, binds)| (*operator, *binds))
    }

    /// One nesting level deeper; [`Parser::leave`] goes back. An error ends the parsing, so nothing
    /// has to leave after one.
    fn enter(&mut self) -> Result<(), Error> {
        if self.depth == self.limits.nesting {
            return Err(self.too_deep(self.span));
        }
        self.depth += 1;
        Ok(())
    }

    const fn leave(&mut self) {
        self.depth -= 1;
    }

    /// A node above children of height `below`.
    fn node(&mut self, kind: NodeKind<'a>, span: Span, below: usize) -> Result<Node<'a>, Error> {
        self.count_node(span)?;
        let height = self.height_above(below, span)?;
        Ok(Node { kind, span, height, grouped: false })
    }

    fn height_above(&self, below: usize, span: Span) -> Result<usize, Error> {
        if below >= self.limits.nesting { Err(self.too_deep(span)) } else { Ok(below + 1) }
    }

    fn count_node(&mut self, span: Span) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes <= self.limits.nodes {
            return Ok(());
        }
        let message = format!("the expression has more than {} parts", self.limits.nodes);
        Err(Error::new(ErrorKind::Limit, self.source, span, message))
    }

    fn too_deep(&self, span: Span) -> Error {
        let message = format!("the expression is nested more than {} deep", self.limits.nesting);
        Error::new(ErrorKind::Limit, self.source, span, message)
    }

    pub(super) fn advance(&mut self) -> Result<(), Error> {
        self.last_end = self.span.end;
        (self.token, self.span) = self.lexer.next()?;
        Ok(())
    }

    /// Whether the current token is `wanted`; takes it if so.
    pub(super) fn take(&mut self, wanted: &Token<'_>) -> Result<bool, Error> {
        let found = self.token == *wanted;
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// Takes the current token if it is the word `wanted`, in any case.
    pub(super) fn take_word(&mut self, wanted: &str) -> Result<bool, Error> {
        let found = matches!(self.token, Token::Name(name) if name.eq_ignore_ascii_case(wanted));
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, wanted: &Token<'_>, symbol: &str) -> Result<(), Error> {
        if self.take(wanted)? {
            return Ok(());
        }
        Err(self.error(ErrorKind::Syntax, &format!("expected {symbol}")))
    }

    pub(super) fn at_end(&self) -> bool {
        self.token == Token::End
    }

    /// An error about the current token.
    pub(super) fn error(&self, kind: ErrorKind, message: &str) -> Error {
        Error::new(kind, self.source, self.span, message)
    }

    /// An operand stands here, and what follows can neither continue nor end it.
    pub(super) fn unexpected_after_operand(&self) -> Error {
        let Token::Name(name) = self.token else {
            return self.error(ErrorKind::Syntax, "expected an operator or the end");
        };
        if name.eq_ignore_ascii_case("has") {
            return self.error(ErrorKind::Unsupported, "the operator `has` is not supported");
        }
        let near = did_you_mean(name, OPERATORS.iter().map(|(name, _, _)| *name).chain(["in"]));
        self.error(ErrorKind::Syntax, &format!("`{name}` is not an operator{near}"))
    }
}
