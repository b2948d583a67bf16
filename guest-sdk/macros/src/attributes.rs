//! What may be written in and below the attributes.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ExprLit, Ident, Lit, LitStr, Result, Token};

use crate::api::{Docs, Lifecycle};
use crate::fragment::{Route, Schedule, Subscribe, Value};

/// What a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Function,
    Service,
}

/// Keys that go below `[limits]` of the manifest; all others of a service go below `[service]`.
const LIMITS: [&str; 4] = ["memory", "timeout", "concurrency", "queue"];

/// The arguments of `#[micro::function]` and `#[micro::service]`.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// `crate = path::to::micro_sdk`
    pub sdk: Option<TokenStream>,
    pub limits: Vec<(String, Value)>,
    pub service: Vec<(String, Value)>,
}

/// `key = value`, where the key may be `crate`.
struct Pair {
    key: Ident,
    value: Expr,
}

impl Parse for Pair {
    fn parse(input: ParseStream) -> Result<Pair> {
        let key = input.call(syn::ext::IdentExt::parse_any)?;
        input.parse::<Token![=]>()?;
        Ok(Pair { key, value: input.parse()? })
    }
}

impl Arguments {
    pub(crate) fn read(kind: Kind, tokens: TokenStream) -> Result<Arguments> {
        let mut arguments = Arguments::default();
        let pairs = syn::parse::Parser::parse2(Punctuated::<Pair, Token![,]>::parse_terminated, tokens)?;
        for Pair { key, value } in pairs {
            let name = key.to_string();
            if name == "crate" {
                arguments.sdk = Some(quote!(#value));
            } else if LIMITS.contains(&name.as_str()) {
                arguments.limits.push((name, literal(&value)?));
            } else if kind == Kind::Service {
                arguments.service.push((name.replace('_', "-"), literal(&value)?));
            } else {
                return Err(Error::new(
                    key.span(),
                    format!("a function has no `{name}`: known are crate, {}; a service has more", LIMITS.join(", ")),
                ));
            }
        }
        Ok(arguments)
    }
}

/// What stands above a function, read and taken away.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub routes: Vec<(Route, Span)>,
    pub schedules: Vec<Schedule>,
    pub subscribes: Vec<Subscribe>,
    pub lifecycle: Option<(Lifecycle, Span)>,
    /// The place of a mark that only an endpoint can have.
    pub endpoint: Option<Span>,
}

impl Marks {
    /// Takes our attributes out of those of a function.
    pub(crate) fn take(attributes: &mut Vec<Attribute>) -> Result<Marks> {
        let mut marks = Marks::default();
        let mut failed: Option<Error> = None;
        attributes.retain(|attribute| {
            let Some(name) = own_name(attribute) else { return true };
            match marks.read(&name, attribute) {
                Ok(is_ours) => !is_ours,
                Err(error) => {
                    match &mut failed {
                        Some(all) => all.combine(error),
                        None => failed = Some(error),
                    }
                    false
                }
            }
        });
        failed.map_or(Ok(marks), Err)
    }

    fn read(&mut self, name: &str, attribute: &Attribute) -> Result<bool> {
        let span = attribute.span();
        match name {
            "route" => self.routes.push((attribute.parse_args()?, span)),
            "schedule" => self.schedules.push(attribute.parse_args()?),
            "subscribe" => self.subscribes.push(attribute.parse_args()?),
            _ => {
                let Some(what) = Lifecycle::ALL.into_iter().find(|what| what.as_str() == name) else {
                    return Ok(false);
                };
                attribute.meta.require_path_only()?;
                if self.lifecycle.replace((what, span)).is_some() {
                    return Err(Error::new(span, "a function has one part in the life of an instance"));
                }
                return Ok(true);
            }
        }
        self.endpoint = Some(span);
        Ok(true)
    }
}

/// The name of an attribute that may be ours: `route`, `micro::route`. Any two segments that end in one of our names
/// would do, since the author's crate may call ours what it likes.
fn own_name(attribute: &Attribute) -> Option<String> {
    let segments = &attribute.path().segments;
    (segments.len() <= 2).then(|| segments.last().map(|segment| segment.ident.to_string())).flatten()
}

impl Parse for Route {
    fn parse(input: ParseStream) -> Result<Route> {
        let method: Ident = input
            .parse()
            .map_err(|error| Error::new(error.span(), "expected a method and a path: #[route(GET, \"/s/{code}\")]"))?;
        const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        let name = method.to_string();
        if ["HEAD", "OPTIONS"].contains(&name.as_str()) {
            return Err(Error::new(
                method.span(),
                format!("the gateway calls nothing for {name}: write one of {}", METHODS.join(", ")),
            ));
        }
        if !METHODS.contains(&name.as_str()) {
            return Err(Error::new(method.span(), format!("no method `{name}`: known are {}", METHODS.join(", "))));
        }
        input.parse::<Token![,]>()?;
        let path: LitStr = input.parse()?;
        if !path.value().starts_with('/') {
            return Err(Error::new(path.span(), "a path begins with `/`"));
        }
        input.parse::<Option<Token![,]>>()?;
        Ok(Route { method: name, path: path.value() })
    }
}

impl Parse for Schedule {
    fn parse(input: ParseStream) -> Result<Schedule> {
        let cron: LitStr = input.parse()?;
        Ok(Schedule { cron: cron.value(), rest: rest(input)? })
    }
}

impl Parse for Subscribe {
    fn parse(input: ParseStream) -> Result<Subscribe> {
        let topic: LitStr = input.parse()?;
        Ok(Subscribe { topic: topic.value(), rest: rest(input)? })
    }
}

/// `, key = value` as often as it comes. The host knows which keys there are.
fn rest(input: ParseStream) -> Result<Vec<(String, Value)>> {
    let mut pairs = Vec::new();
    while !input.is_empty() {
        input.parse::<Token![,]>()?;
        if input.is_empty() {
            break;
        }
        let Pair { key, value } = input.parse()?;
        pairs.push((key.to_string().replace('_', "-"), literal(&value)?));
    }
    Ok(pairs)
}

fn literal(expression: &Expr) -> Result<Value> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(Value::Text(text.value())),
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => Ok(Value::Integer(number.base10_parse()?)),
        Expr::Lit(ExprLit { lit: Lit::Bool(value), .. }) => Ok(Value::Bool(value.value)),
        _ => Err(Error::new(expression.span(), "expected a text, a whole number, true or false")),
    }
}

/// Refuses what may be there or not: an attribute is given all that stands below it, whatever is configured.
pub(crate) fn unconditional(attributes: &[Attribute]) -> Result<()> {
    for attribute in attributes {
        let is_condition = match attribute.path().get_ident().map(ToString::to_string).as_deref() {
            Some("cfg") => true,
            Some("cfg_attr") => {
                let metas = attribute.parse_args_with(Punctuated::<syn::Meta, Token![,]>::parse_terminated)?;
                metas.iter().skip(1).any(|meta| is_read(meta.path()))
            }
            _ => false,
        };
        if is_condition {
            let reason = "the attribute of the module cannot tell whether this holds: put `cfg` above the whole module, \
                          or into the body of a function";
            return Err(Error::new(attribute.span(), reason));
        }
    }
    Ok(())
}

/// Whether an attribute changes what is read here; lints and derives do not.
fn is_read(path: &syn::Path) -> bool {
    const MARKS: [&str; 6] = ["cfg", "cfg_attr", "doc", "route", "schedule", "subscribe"];
    let Some(last) = path.segments.last() else { return false };
    let name = last.ident.to_string();
    MARKS.contains(&name.as_str()) || Lifecycle::ALL.into_iter().any(|what| what.as_str() == name)
}

/// Takes the text of doc comments.
pub(crate) fn docs(attributes: &[Attribute]) -> Docs {
    let mut lines = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        if let syn::Meta::NameValue(pair) = &attribute.meta
            && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value
        {
            lines.extend(text.value().lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned()));
            if text.value().is_empty() {
                lines.push(String::new());
            }
        }
    }
    Docs(lines)
}

/// For an attribute that is expanded by itself, which means that no module around it has read it.
pub(crate) fn misplaced(name: &str) -> Error {
    Error::new(
        Span::call_site(),
        format!(
            "`{name}` marks a function in a module that is marked #[micro::function] or #[micro::service]; on a function \
             by itself it stands below that attribute"
        ),
    )
}
