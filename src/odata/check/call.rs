//! Calls: the table of standard functions, the four special ones, the model's own, and lambdas.

use super::convert::fits;
use super::{Checker, boolean};
use crate::odata::error::{Error, ErrorKind, did_you_mean};
use crate::odata::expr::{Expr, Kind, Lambda};
use crate::odata::functions::{self, Function, SPECIAL, Signature, UNSUPPORTED};
use crate::odata::model::{CustomFunction, PRIMITIVES, Type, map_entry};
use crate::odata::pattern::Pattern;
use crate::odata::syntax::{Node, NodeKind, Quantifier, Span};
use crate::odata::value::Value;

/// Most `matchesPattern` calls in one expression: each compiles a program.
const PATTERNS_MAX: usize = 10;

impl<'a> Checker<'a> {
    pub(super) fn call(
        &mut self,
        name: &str,
        arguments: Vec<Node<'a>>,
        span: Span,
    ) -> Result<Expr, Error> {
        if let Some(signature) = functions::signature(name) {
            return self.standard(signature, arguments, span);
        }
        if let Some(special) = SPECIAL.iter().find(|special| special.eq_ignore_ascii_case(name)) {
            let arguments: [Node<'a>; 2] = arguments
                .try_into()
                .map_err(|given: Vec<_>| self.arity(special, "2 arguments", given.len(), span))?;
            return match *special {
                "matchesPattern" => self.matches_pattern(arguments, span),
                "cast" => self.cast(arguments, span),
                _ => self.is_of(arguments, span),
            };
        }
        if let Some(custom) = self.model.find_function(name) {
            return self.custom(custom, arguments, span);
        }
        if UNSUPPORTED.iter().any(|unsupported| unsupported.eq_ignore_ascii_case(name)) {
            let message = format!("the function `{name}` is not supported");
            return Err(self.error(ErrorKind::Unsupported, span, message));
        }
        let own = self.model.functions().iter().map(|function| function.name.as_str());
        let near = did_you_mean(name, functions::names().chain(own));
        let message = format!("there is no function `{name}`{near}");
        Err(self.error(ErrorKind::UnknownFunction, span, message))
    }

    fn standard(
        &mut self,
        signature: &Signature,
        arguments: Vec<Node<'a>>,
        span: Span,
    ) -> Result<Expr, Error> {
        let (least, most) = (signature.required, signature.parameters.len());
        if !(least..=most).contains(&arguments.len()) {
            let wanted = match (least, most) {
                (0, 0) => "no argument".to_owned(),
                (1, 1) => "1 argument".to_owned(),
                _ if least == most => format!("{least} arguments"),
                _ => format!("{least} or {most} arguments"),
            };
            return Err(self.arity(signature.name, &wanted, arguments.len(), span));
        }
        let mut checked = Vec::with_capacity(arguments.len());
        for (argument, accepted) in arguments.into_iter().zip(signature.parameters) {
            let argument = self.expr(argument)?;
            checked.push(self.argument(signature.name, argument, accepted)?);
        }
        if signature.function == Function::Substring {
            self.refuse_negative(&checked[1..])?;
        }
        let first = || checked.first().map_or(Type::Null, |argument| argument.ty.clone());
        let ty = signature.result.clone().unwrap_or_else(first);
        Ok(Expr { kind: Kind::Call(signature.function, checked), ty, span })
    }

    /// An argument as the first of the accepted types that it fits.
    fn argument(&self, function: &str, given: Expr, accepted: &[Type]) -> Result<Expr, Error> {
        if accepted.contains(&given.ty) {
            return Ok(given);
        }
        if let Some(wanted) = accepted.iter().find(|wanted| fits(&given, wanted)) {
            return self.convert(given, wanted);
        }
        let wanted = accepted.iter().map(Type::name).collect::<Vec<_>>().join(" or ");
        let message = format!("`{function}` expects {wanted} here, found {}", given.ty);
        Err(self.error(ErrorKind::Type, given.span, message))
    }

    fn refuse_negative(&self, numbers: &[Expr]) -> Result<(), Error> {
        for number in numbers {
            if matches!(number.kind, Kind::Literal(Value::Int(value)) if value < 0) {
                let message = "a position or length cannot be negative";
                return Err(self.error(ErrorKind::Argument, number.span, message));
            }
        }
        Ok(())
    }

    fn custom(
        &mut self,
        function: &CustomFunction,
        arguments: Vec<Node<'a>>,
        span: Span,
    ) -> Result<Expr, Error> {
        if arguments.len() != function.parameters.len() {
            let wanted = format!("{} arguments", function.parameters.len());
            return Err(self.arity(&function.name, &wanted, arguments.len(), span));
        }
        let mut checked = Vec::with_capacity(arguments.len());
        for (argument, wanted) in arguments.into_iter().zip(&function.parameters) {
            let argument = self.expr(argument)?;
            checked.push(self.argument(&function.name, argument, std::slice::from_ref(wanted))?);
        }
        let kind = Kind::Custom(function.name.clone(), checked);
        Ok(Expr { kind, ty: function.result.clone(), span })
    }

    fn matches_pattern(
        &mut self,
        [subject, pattern]: [Node<'a>; 2],
        span: Span,
    ) -> Result<Expr, Error> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            let message = format!("a query has at most {PATTERNS_MAX} patterns");
            return Err(self.error(ErrorKind::Limit, span, message));
        }
        let subject = self.expr(subject)?;
        let subject = self.argument("matchesPattern", subject, &[Type::String])?;
        let NodeKind::Literal(Value::String(source)) = pattern.kind else {
            let message = "the pattern has to be a string literal";
            return Err(self.error(ErrorKind::Argument, pattern.span, message));
        };
        let pattern = Pattern::new(&source)
            .map_err(|problem| self.error(ErrorKind::Argument, pattern.span, problem))?;
        Ok(boolean(Kind::Matches(Box::new(subject), pattern), span))
    }

    fn cast(&mut self, [operand, ty]: [Node<'a>; 2], span: Span) -> Result<Expr, Error> {
        let ty = self.type_name(&ty)?;
        let operand = self.expr(operand)?;
        if operand.ty == ty {
            return Ok(operand);
        }
        if !castable(&operand.ty, &ty) {
            let message = format!("`cast` from {} to {ty} is not supported", operand.ty);
            return Err(self.error(ErrorKind::Unsupported, span, message));
        }
        Ok(Expr { kind: Kind::Cast(Box::new(operand)), ty, span })
    }

    fn is_of(&mut self, [operand, ty]: [Node<'a>; 2], span: Span) -> Result<Expr, Error> {
        let ty = self.type_name(&ty)?;
        let operand = self.expr(operand)?;
        if matches!(operand.ty, Type::Object(_) | Type::Collection(_) | Type::Map) {
            let message = format!("`isof` of {} is not supported", operand.ty);
            return Err(self.error(ErrorKind::Unsupported, span, message));
        }
        Ok(boolean(Kind::IsOf(Box::new(operand), ty), span))
    }

    fn type_name(&self, node: &Node<'a>) -> Result<Type, Error> {
        let NodeKind::Path(name) = node.kind else {
            let message = "expected the name of a type, such as `Edm.String`";
            return Err(self.error(ErrorKind::Type, node.span, message));
        };
        Type::by_name(name).ok_or_else(|| {
            let near = did_you_mean(name, PRIMITIVES.iter().map(Type::name));
            let message = format!("the type `{name}` is not supported{near}");
            self.error(ErrorKind::Unsupported, node.span, message)
        })
    }

    /// All values of a `case` get the type of the one that the others can be converted to.
    pub(super) fn case(
        &mut self,
        arms: Vec<(Node<'a>, Node<'a>)>,
        span: Span,
    ) -> Result<Expr, Error> {
        let mut checked = Vec::with_capacity(arms.len());
        let mut ty = Type::Null;
        for (condition, value) in arms {
            let (condition, value) = (self.condition(condition)?, self.expr(value)?);
            let dynamic_number =
                matches!((&ty, &value.ty), (Type::Json, Type::Int) | (Type::Int, Type::Json));
            if dynamic_number {
                ty = Type::Double;
            } else if !fits(&value, &ty) {
                ty = value.ty.clone();
            }
            checked.push((condition, value));
        }
        if !PRIMITIVES.contains(&ty) {
            let message = format!("a `case` cannot yield {ty}; `cast` its values");
            return Err(self.error(ErrorKind::Type, span, message));
        }
        let mut converted = Vec::with_capacity(checked.len());
        for (condition, value) in checked {
            converted.push((condition, self.argument("case", value, std::slice::from_ref(&ty))?));
        }
        Ok(Expr { kind: Kind::Case(converted), ty, span })
    }

    pub(super) fn lambda(
        &mut self,
        quantifier: Quantifier,
        collection: &'a str,
        body: Option<(&'a str, Box<Node<'a>>)>,
        span: Span,
    ) -> Result<Expr, Error> {
        let (path, ty) = self.resolve(collection, span)?;
        let item = match &ty {
            Type::Collection(item) => item.as_ref().clone(),
            Type::Map => map_entry(),
            Type::Json => Type::Json,
            Type::Null
            | Type::Boolean
            | Type::Int
            | Type::Double
            | Type::String
            | Type::Date
            | Type::TimeOfDay
            | Type::DateTimeOffset
            | Type::Duration
            | Type::Guid
            | Type::Enum(_)
            | Type::Object(_) => {
                let message = format!("`{collection}` ({ty}) is no collection");
                return Err(self.error(ErrorKind::Type, span, message));
            }
        };
        let body = match body {
            None => None,
            Some((variable, predicate)) => {
                self.refuse_variable(variable, span)?;
                self.scope.push((variable, item));
                let predicate = self.condition(*predicate)?;
                self.scope.pop();
                Some((variable.to_owned(), predicate))
            }
        };
        let lambda = Lambda { quantifier, collection: path, ty, body };
        Ok(boolean(Kind::Lambda(Box::new(lambda)), span))
    }

    /// A variable hides nothing: a reader never has to ask which of two things a name means.
    fn refuse_variable(&self, variable: &str, span: Span) -> Result<(), Error> {
        let problem = if variable.contains(['$', '.']) {
            "is no name for a variable"
        } else if self.scope.iter().any(|(name, _)| *name == variable) {
            "is already the variable of an outer lambda"
        } else if self.model.find(variable).is_some() {
            "is already the name of a property"
        } else {
            return Ok(());
        };
        Err(self.error(ErrorKind::Syntax, span, format!("`{variable}` {problem}")))
    }

    fn arity(&self, name: &str, wanted: &str, given: usize, span: Span) -> Error {
        let message = format!("`{name}` takes {wanted}, not {given}");
        self.error(ErrorKind::Arity, span, message)
    }
}

/// Whether `cast` converts between two different types.
fn castable(from: &Type, to: &Type) -> bool {
    match from {
        Type::Null | Type::Json | Type::String => true,
        Type::Int => matches!(to, Type::Double | Type::String),
        Type::Double => matches!(to, Type::Int),
        Type::Date => matches!(to, Type::DateTimeOffset | Type::String),
        Type::DateTimeOffset => matches!(to, Type::Date | Type::TimeOfDay),
        Type::Boolean | Type::Guid | Type::Enum(_) => matches!(to, Type::String),
        Type::TimeOfDay | Type::Duration | Type::Object(_) | Type::Collection(_) | Type::Map => {
            false
        }
    }
}
