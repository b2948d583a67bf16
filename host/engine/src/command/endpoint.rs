//! The one endpoint of a command.

use crate::error::CallError;
use crate::module::{START, WASI_P1};
use crate::name::Name;
use crate::schema::{Endpoint, Field, Record, Reply, Request, Type};
use crate::value::Value;
use bytes::Bytes;
use std::sync::Arc;

/// How the interface begins by which a component runs as a program. A program for WASIp1 has [`WASI_P1`] in its place.
const INTERFACE: &str = "wasi:cli/run@0.2.";

/// Its function.
const FUNCTION: &str = "run";

/// Whether an interface is one by which a program runs.
pub(crate) fn is_command(interface: &str) -> bool {
    interface == WASI_P1 || interface.starts_with(INTERFACE)
}

/// `{prefix}.Run`: takes what a program gets on its way, and gives what it writes.
pub(crate) fn endpoint(prefix: &str, interface: String) -> Endpoint {
    let function = if interface == WASI_P1 { START } else { FUNCTION };
    let field =
        |name, docs: &str, ty| Field { name: Name::new(name), docs: Some(docs.into()), ty: Type::Option(Arc::new(ty)) };
    let fields = vec![
        field("stdin", "What the program reads on its standard input.", Type::Bytes),
        field(
            "args",
            "Arguments, behind the program's name and those of its manifest.",
            Type::List(Arc::new(Type::String)),
        ),
    ];
    let message = Record { name: "Run".into(), docs: None, fields };
    Endpoint {
        name: format!("{prefix}.Run").into(),
        interface: Some(interface.into()),
        function: function.into(),
        docs: Some("Runs the program, and answers with what it writes to its standard output.".into()),
        request: Request { message: Arc::new(message), is_one_record: false },
        reply: Reply { ok: Some(Type::Bytes), err: None },
        is_async: false,
        stream: None,
        raw: None,
    }
}

/// Standard input and arguments, from the fields of a message.
pub(super) fn read(fields: Vec<Value>) -> Result<(Bytes, Vec<String>), CallError> {
    let unfit = || CallError::BadRequest("other fields than stdin and args".into());
    let [stdin, args] = <[Value; 2]>::try_from(fields).map_err(|_| unfit())?;
    let stdin = match given(stdin) {
        None => Bytes::new(),
        Some(Value::Bytes(bytes)) => bytes,
        Some(_) => return Err(unfit()),
    };
    let args = match given(args) {
        None => Vec::new(),
        Some(Value::List(args)) => args,
        Some(_) => return Err(unfit()),
    };
    let args = args.into_iter().map(|arg| match arg {
        Value::String(text) if text.contains('\0') => {
            Err(CallError::BadRequest(format!("argument {text:?}: a program's argument cannot hold a zero byte")))
        }
        Value::String(text) => Ok(text),
        _ => Err(unfit()),
    });
    Ok((stdin, args.collect::<Result<_, _>>()?))
}

/// What is in an option.
fn given(value: Value) -> Option<Value> {
    match value {
        Value::Variant(1, Some(value)) => Some(*value),
        _ => None,
    }
}
