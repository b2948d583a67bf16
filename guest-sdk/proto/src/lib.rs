//! Proto first: a `.proto` file becomes messages, a trait for each service, and descriptors for the host.
//!
//! The build script of a function says which files:
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), micro_sdk_proto::Error> {
//!     micro_sdk_proto::compile(&["proto/greeter.proto"], &["proto"])
//! }
//! ```
//!
//! and the function implements the trait:
//!
//! ```ignore
//! mod greeter {
//!     // Called after the package in the .proto file.
//!     include!(concat!(env!("OUT_DIR"), "/greeter.rs"));
//! }
//!
//! struct Say;
//!
//! impl greeter::Say for Say {
//!     fn hello(_: micro::types::Context, request: greeter::Request) -> micro::Result<greeter::Response> {
//!         Ok(greeter::Response { msg: format!("Hello {}", request.name) })
//!     }
//! }
//!
//! micro::serve!(greeter::SayEndpoints<Say>);
//! ```
//!
//! No `protoc` has to be installed. The crate depends on `prost`, whose derives the messages use, and on `micro-sdk`.
//! Methods with streams are refused: the contract's `handler` has one message in and one out.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use proc_macro_crate::FoundCrate;
use prost::Message;
use prost_build::{Config, Method, Service, ServiceGenerator};

/// The file in `OUT_DIR` that `micro::serve!` puts into the component.
pub const DESCRIPTORS: &str = "micro.descriptors";

/// Why nothing was made, in a text for the one who builds.
#[derive(Debug)]
pub struct Error(String);

impl std::fmt::Display for Error {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Compiles `.proto` files, which lie in one of the folders `includes`, into the folder that cargo names `OUT_DIR`.
pub fn compile(files: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Error> {
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| Error("OUT_DIR is not set: call this in build.rs".into()))?;
    let sdk = match proc_macro_crate::crate_name("micro-sdk") {
        Ok(FoundCrate::Name(name)) => format!("::{name}"),
        Ok(FoundCrate::Itself) => "::micro_sdk".to_owned(),
        Err(error) => return Err(Error(format!("the function has to depend on micro-sdk: {error}"))),
    };
    for folder in includes {
        println_cargo(&format!("rerun-if-changed={}", folder.as_ref().display()));
    }
    compile_into(&PathBuf::from(out), &sdk, files, includes)
}

#[expect(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn println_cargo(line: &str) {
    println!("cargo::{line}");
}

fn compile_into(out: &Path, sdk: &str, files: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Error> {
    let set = protox::compile(files, includes).map_err(|error| Error(error.to_string()))?;
    for (file, service, method) in set.file.iter().flat_map(|file| {
        let services = file.service.iter();
        services.flat_map(move |service| service.method.iter().map(move |method| (file, service, method)))
    }) {
        if method.client_streaming() || method.server_streaming() {
            return Err(Error(format!(
                "{}: {}.{} has a stream, which a proto-first function cannot have yet: write it with micro::Stream",
                file.name(),
                service.name(),
                method.name()
            )));
        }
    }
    let failed = |error: std::io::Error| Error(error.to_string());
    std::fs::write(out.join(DESCRIPTORS), set.encode_to_vec()).map_err(failed)?;
    let mut config = Config::new();
    config.out_dir(out).service_generator(Box::new(Generator { sdk: sdk.to_owned() }));
    config.compile_fds(set).map_err(failed)
}

/// Writes a trait for each service, and how the host's calls find its methods.
struct Generator {
    sdk: String,
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, out: &mut String) {
        // Writing to a String does not fail.
        let _ = self.write(&service, out);
    }
}

impl Generator {
    fn write(&self, service: &Service, out: &mut String) -> std::fmt::Result {
        let (sdk, name) = (&self.sdk, &service.name);
        service.comments.append_with_indent(0, out);
        writeln!(out, "pub trait {name} {{")?;
        for Method { name, comments, input_type, output_type, .. } in &service.methods {
            comments.append_with_indent(1, out);
            writeln!(out, "    fn {name}(")?;
            writeln!(out, "        context: {sdk}::types::Context,")?;
            writeln!(out, "        request: {input_type},")?;
            writeln!(out, "    ) -> ::core::result::Result<{output_type}, {sdk}::types::Error>;")?;
        }
        writeln!(out, "}}\n")?;
        writeln!(out, "/// The endpoints of [`{name}`], as implemented by `T`.")?;
        writeln!(out, "pub struct {name}Endpoints<T>(::core::marker::PhantomData<T>);\n")?;
        writeln!(out, "impl<T: {name}> {sdk}::proto::Endpoints for {name}Endpoints<T> {{")?;
        writeln!(out, "    fn answer(")?;
        writeln!(out, "        context: {sdk}::types::Context,")?;
        writeln!(out, "        content: &[u8],")?;
        writeln!(out, "    ) -> {sdk}::proto::Answer {{")?;
        writeln!(out, "        match context.endpoint.as_str() {{")?;
        for Method { name, proto_name, .. } in &service.methods {
            let endpoint = format!("{}.{proto_name}", service.proto_name);
            writeln!(out, "            {endpoint:?} => {{")?;
            writeln!(out, "                let request = ::prost::Message::decode(content);")?;
            writeln!(out, "                let request = request.map_err({sdk}::proto::unreadable)?;")?;
            writeln!(out, "                let reply = T::{name}(context, request)?;")?;
            writeln!(out, "                let reply = ::prost::Message::encode_to_vec(&reply);")?;
            writeln!(out, "                ::core::result::Result::Ok(::core::option::Option::Some(reply))")?;
            writeln!(out, "            }}")?;
        }
        writeln!(
            out,
            "            _ => ::core::result::Result::Ok(::core::option::Option::None),\n        }}\n    }}\n}}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_of(proto: &str) -> Result<(String, usize), Error> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("greeter.proto");
        std::fs::write(&file, proto).unwrap();
        compile_into(folder.path(), "::micro", &[&file], &[folder.path()])?;
        let descriptors = std::fs::read(folder.path().join(DESCRIPTORS)).unwrap();
        Ok((std::fs::read_to_string(folder.path().join("greeter.rs")).unwrap(), descriptors.len()))
    }

    #[test]
    fn a_service_becomes_a_trait_and_a_way_to_it() {
        let (rust, descriptors) = made_of(
            "syntax = \"proto3\"; package greeter;\n// Greets.\nservice Say {\n// Says hello.\n\
             rpc SayHello(Request) returns (Response); }\n\
             message Request { string name = 1; }\nmessage Response { string msg = 1; }",
        )
        .unwrap();
        for wanted in [
            "/// Greets.\npub trait Say {",
            "    /// Says hello.\n    fn say_hello(",
            "request: Request,\n    ) -> ::core::result::Result<Response, ::micro::types::Error>;",
            "impl<T: Say> ::micro::proto::Endpoints for SayEndpoints<T> {",
            "\"Say.SayHello\" => {",
        ] {
            assert!(rust.contains(wanted), "{wanted}:\n{rust}");
        }
        assert!(descriptors > 50);
    }

    #[test]
    fn messages_may_be_called_as_what_the_trait_returns() {
        let (rust, _) = made_of(
            "syntax = \"proto3\"; package greeter; service S { rpc Call(Ok) returns (None); }
             message Ok {} message None {} message Some {} message Option {}",
        )
        .unwrap();
        for name in [" Ok(", "(Some(", "(None)", " Result<"] {
            assert!(!rust.contains(name), "{name} is the message of that name:\n{rust}");
        }
    }

    #[test]
    fn a_stream_is_refused_by_name() {
        let proto = "syntax = \"proto3\"; package greeter; message A {}\nservice S { rpc Many(A) returns (stream A); }";
        let error = made_of(proto).unwrap_err().to_string();
        assert!(error.contains("S.Many has a stream"), "{error}");
        assert!(made_of("service").is_err());
    }
}
