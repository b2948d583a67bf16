//! The WIT text of what was read.

use std::fmt::Write;

use crate::api::{Api, Defined, Docs, Field, Function, Lifecycle, Payload, Reply, Shape, StreamType};
use crate::names::Name;
use crate::types::{Shared, Type};

/// The author's package in WIT: the part that says something to people, doc comments and all. It is also the content of
/// the custom section `micro.wit`.
pub(crate) fn package(api: &Api) -> String {
    let mut out = format!("package micro-guest:{};\n", api.package.wit());
    if !api.functions.is_empty() {
        out.push('\n');
        interface(&mut out, api);
    }
    line(&mut out, 0, "");
    line(&mut out, 0, &format!("world {} {{", world(api)));
    if !api.functions.is_empty() {
        line(&mut out, 1, &format!("export {};", api.interface.wit()));
    }
    if !api.lifecycle.is_empty() {
        line(&mut out, 1, &format!("export {LIFECYCLE};"));
    }
    line(&mut out, 0, "}");
    out
}

/// The interface of the moments in a service's life.
const LIFECYCLE: &str = "micro:function/lifecycle@0.1.0";

/// The interface of the types that host and function share.
pub(crate) const TYPES: &str = "micro:function/types@0.1.0";

/// What `package` refers to, as a package inside the same text: no folder of WIT has to be found when the author's crate
/// is built.
pub(crate) fn contract(api: &Api) -> String {
    /// The one text of the contract, of which the interface is taken and the line that names the package left out.
    const TEXT: &str = include_str!("../../../wit/types.wit");
    let (_, types) = TEXT.split_once(HEADER).unwrap_or_default();
    let mut out = String::from("\npackage micro:function@0.1.0 {\n");
    if !api.shared().is_empty() {
        out.push_str(types);
    }
    if !api.lifecycle.is_empty() {
        // A component may export any of these functions, so the interface has the ones that are here.
        line(&mut out, 1, "interface lifecycle {");
        for moment in &api.lifecycle {
            let signature = match moment.what {
                Lifecycle::Start | Lifecycle::Health => "func() -> result<_, string>",
                Lifecycle::Stop => "func()",
                Lifecycle::Save => "func() -> result<list<u8>, string>",
                Lifecycle::Restore => "func(state: list<u8>) -> result<_, string>",
            };
            line(&mut out, 2, &format!("{}: {signature};", moment.what.as_str()));
        }
        line(&mut out, 1, "}");
    }
    out.push_str("}\n");
    out
}

/// A world that exports the contract's handler, which is for endpoints that WIT does not describe. Of its interface, what
/// functions without streams have.
pub(crate) fn handler() -> String {
    const TYPES: &str = include_str!("../../../wit/types.wit");
    let types = TYPES.split_once(HEADER).unwrap_or_default().1;
    format!(
        "package micro-guest:proto;

world proto-component {{
    export micro:function/handler@0.1.0;
}}

package micro:function@0.1.0 {{
    {types}
    interface handler {{
        use types.{{context, error}};
        record body {{ content-type: string, content: list<u8> }}
        handle: func(context: context, request: body) -> result<body, error>;
    }}
}}
"
    )
}

/// The line that begins each file of the contract, below comments.
const HEADER: &str = "package micro:function@0.1.0;";

/// Two modules of one crate make two worlds, so a world is called after its interface.
fn world(api: &Api) -> String {
    api.interface.with("component").wit()
}

fn interface(out: &mut String, api: &Api) {
    docs(out, 0, &api.docs);
    line(out, 0, &format!("interface {} {{", api.interface.wit()));
    let shared: Vec<String> = api
        .shared()
        .into_iter()
        .map(|shared| match shared_name(api, shared) {
            name if name == shared.wit() => name,
            name => format!("{} as {name}", shared.wit()),
        })
        .collect();
    let mut is_first = shared.is_empty();
    if !shared.is_empty() {
        line(out, 1, &format!("use {TYPES}.{{{}}};", shared.join(", ")));
    }
    let mut apart = |out: &mut String| {
        if !std::mem::replace(&mut is_first, false) {
            out.push('\n');
        }
    };
    for defined in &api.types {
        apart(out);
        define(out, api, defined);
    }
    for function in &api.functions {
        if let Some(name) = function.resource() {
            apart(out);
            resource(out, api, function, &name);
        }
        apart(out);
        docs(out, 1, &function.docs);
        let parameters: Vec<String> =
            function.parameters.iter().map(|(name, ty)| format!("{}: {}", name.wit(), wit(api, ty))).collect();
        let reply = match &function.reply {
            Reply::Nothing => String::new(),
            Reply::Value(ty) => format!(" -> {}", wit(api, ty)),
            Reply::Stream { error, .. } => {
                let name = function.resource().map(|name| name.wit()).unwrap_or_default();
                match error {
                    Some(error) => format!(" -> result<{name}, {}>", wit(api, error)),
                    None => format!(" -> {name}"),
                }
            }
        };
        let keyword = if function.is_async { "async func" } else { "func" };
        line(out, 1, &format!("{}: {keyword}({}){reply};", function.name.wit(), parameters.join(", ")));
    }
    line(out, 0, "}");
}

fn define(out: &mut String, api: &Api, defined: &Defined) {
    let name = defined.name.wit();
    if let Shape::Variant(cases) = &defined.shape {
        for case in cases {
            if let Payload::Named(record_name, fields) = &case.payload {
                line(out, 1, &format!("/// What `{}` carries.", case.name.plain()));
                record(out, api, record_name, fields);
                out.push('\n');
            }
        }
    }
    docs(out, 1, &defined.docs);
    match &defined.shape {
        Shape::Record(fields) => record(out, api, &defined.name, fields),
        Shape::Newtype(types) => match types.as_slice() {
            [only] => line(out, 1, &format!("type {name} = {};", wit(api, only))),
            several => line(out, 1, &format!("type {name} = {};", tuple(api, several))),
        },
        Shape::Alias(ty) => line(out, 1, &format!("type {name} = {};", wit(api, ty))),
        Shape::Enum(cases) | Shape::Variant(cases) => {
            let keyword = if matches!(defined.shape, Shape::Enum(_)) { "enum" } else { "variant" };
            line(out, 1, &format!("{keyword} {name} {{"));
            for case in cases {
                docs(out, 2, &case.docs);
                let payload = match &case.payload {
                    Payload::Nothing => String::new(),
                    Payload::Unnamed(types) => match types.as_slice() {
                        [only] => format!("({})", wit(api, only)),
                        several => format!("({})", tuple(api, several)),
                    },
                    Payload::Named(name, _) => format!("({})", name.wit()),
                };
                line(out, 2, &format!("{}{payload},", case.name.wit()));
            }
            line(out, 1, "}");
        }
    }
}

fn record(out: &mut String, api: &Api, name: &Name, fields: &[Field]) {
    line(out, 1, &format!("record {} {{", name.wit()));
    for field in fields {
        docs(out, 2, &field.docs);
        line(out, 2, &format!("{}: {},", field.name.wit(), wit(api, &field.ty)));
    }
    line(out, 1, "}");
}

/// The resource that the host knows a stream by: its methods say which kind.
fn resource(out: &mut String, api: &Api, function: &Function, name: &Name) {
    let Reply::Stream { stream, .. } = &function.reply else { return };
    let error = shared_name(api, Shared::Error);
    let next = |item| format!("next: func() -> result<option<{}>, {error}>;", wit(api, item));
    let send = |item| format!("send: func(item: {}) -> result<_, {error}>;", wit(api, item));
    let methods = match stream {
        StreamType::Server(item) => vec![next(item)],
        StreamType::Client(item, reply) => {
            vec![send(item), format!("finish: func() -> result<{}, {error}>;", wit(api, reply))]
        }
        StreamType::Both(item, reply) => {
            vec![send(item), next(reply), format!("finish: func() -> result<_, {error}>;")]
        }
    };
    line(out, 1, &format!("/// The messages of `{}`.", function.name.plain()));
    line(out, 1, &format!("resource {} {{", name.wit()));
    methods.iter().for_each(|method| line(out, 2, method));
    line(out, 1, "}");
}

/// What the interface calls a shared type: by its own name, unless the author has taken that.
fn shared_name(api: &Api, shared: Shared) -> String {
    let own = shared.wit();
    let is_taken = api.types.iter().map(|defined| &defined.name).chain(api.functions.iter().map(|of| &of.name));
    if is_taken.into_iter().any(|name| name.plain() == own) { format!("micro-{own}") } else { own.to_owned() }
}

fn wit(api: &Api, ty: &Type) -> String {
    let side = |side: &Option<Box<Type>>| side.as_ref().map_or_else(|| "_".to_owned(), |ty| wit(api, ty));
    match ty {
        Type::Plain(_, name) => (*name).to_owned(),
        Type::String => "string".to_owned(),
        Type::List(inner) => format!("list<{}>", wit(api, inner)),
        Type::Array(inner, length) => format!("list<{}, {length}>", wit(api, inner)),
        Type::Option(inner) => format!("option<{}>", wit(api, inner)),
        Type::Result(None, None) => "result".to_owned(),
        Type::Result(Some(ok), None) => format!("result<{}>", wit(api, ok)),
        Type::Result(ok, error) => format!("result<{}, {}>", side(ok), side(error)),
        Type::Tuple(items) => tuple(api, items),
        Type::Map(_, key, value) => format!("map<{}, {}>", wit(api, key), wit(api, value)),
        Type::Boxed(inner) => wit(api, inner),
        Type::User(ident) => api.defined(ident).map(|defined| defined.name.wit()).unwrap_or_default(),
        Type::Shared(shared) => shared_name(api, *shared),
    }
}

fn tuple(api: &Api, items: &[Type]) -> String {
    let items: Vec<String> = items.iter().map(|item| wit(api, item)).collect();
    format!("tuple<{}>", items.join(", "))
}

fn docs(out: &mut String, depth: usize, docs: &Docs) {
    for text in &docs.0 {
        line(out, depth, format!("/// {text}").trim_end());
    }
}

fn line(out: &mut String, depth: usize, text: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "{:1$}{text}", "", if text.is_empty() { 0 } else { depth * 4 });
}
