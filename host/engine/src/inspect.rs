//! What a component says of itself: its WIT becomes a schema, with no wasmtime in sight.
//!
//! Inspection reads the bytes alone. It tells what a component exports (its endpoints, with their doc comments), what it
//! imports, which engine it needs, and what its manifest says; whatever cannot be served is refused here, with the reason.

mod features;
mod streams;
mod types;
mod web;

pub use web::Web;

use crate::docs::{self, Docs};
use crate::error::LoadError;
use crate::manifest::{Manifest, SECTION};
use crate::module::{self, Deployable, WASI_P1};
use crate::name::title_case;
use crate::proto::{self, Protos};
use crate::schema::{Endpoint, Field, Need, Record, Reply, Request, Type};
use crate::{command, section};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use types::{Types, text};
use wit_parser::decoding::DecodedWasm;
use wit_parser::{Function, FunctionKind, InterfaceId, Resolve, TypeDefKind, WorldId, WorldItem, WorldKey};

/// A component larger than this is refused before it is read.
pub const MAX_COMPONENT: usize = 128 * 1024 * 1024;

/// Packages whose exports are not endpoints: the platform's own, and our contract with a guest.
pub(crate) const NOT_ENDPOINTS: [&str; 2] = ["wasi:", "micro:function/"];

/// The interfaces of those packages whose functions are endpoints: messages come to them by a call like any other.
pub const SUBSCRIBER: &str = "micro:function/subscriber@";
pub use crate::bindings::messaging::HANDLER as MESSAGING;

/// Functions with which toolchains for interpreted languages prepare a component, and which they leave in it: called from
/// outside they would run any script. Each is known by its interface, its name and its first parameter.
const LEFT_BEHIND: [(Option<&str>, &str, &str); 2] = [(None, "init", "shim"), (Some("exports"), "init", "app-name")];

/// Which of the two engines runs a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Without support for component-model async, and faster for it.
    Lean,
    /// For components that use component-model async: WASI 0.3, async exports, streams, some JavaScript.
    Concurrent,
}

impl EngineKind {
    /// `lean` or `concurrent`.
    pub fn as_str(self) -> &'static str {
        match self {
            EngineKind::Lean => "lean",
            EngineKind::Concurrent => "concurrent",
        }
    }
}

/// What inspection found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inspection {
    /// `sha256:` and the digest of the bytes in hex.
    pub digest: String,
    /// Of the file, in bytes.
    pub size: usize,
    /// The embedded manifest, if the component holds one.
    pub manifest: Option<Manifest>,
    /// The interfaces that the component imports, `wasi:io/streams@0.2.6`.
    pub imports: Vec<String>,
    /// What callers reach. Functions of the world itself are named after the deployment.
    pub endpoints: Vec<Endpoint>,
    /// Exports that are no endpoints, `wasi:cli/run@0.2.6`.
    pub other_exports: Vec<String>,
    /// Imports that another deployment must export.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// The descriptor set of a component whose endpoints a `.proto` file describes, as base64.
    #[serde(default)]
    pub descriptors: Option<String>,
    /// How the component takes HTTP requests as they are, if it does.
    #[serde(default)]
    pub web: Option<Web>,
    /// The engine that runs the component.
    pub engine: EngineKind,
}

impl Inspection {
    /// The endpoint called `name`.
    pub fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| *endpoint.name == *name)
    }

    /// What the component's `.proto` file says, if it has one.
    pub fn protos(&self) -> Result<Option<Protos>, String> {
        let Some(text) = &self.descriptors else { return Ok(None) };
        let bytes = STANDARD.decode(text).map_err(|error| format!("section {}: {error}", proto::SECTION))?;
        Protos::read(&bytes).map(Some)
    }

    /// The interface by which the component takes HTTP requests as they are.
    pub fn web_interface(&self) -> Option<&str> {
        Web::find(&self.other_exports).map(|(interface, _)| interface)
    }

    /// The interface by which it runs as a program, if that is what it is.
    pub fn command(&self) -> Option<&str> {
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.is_command())?;
        endpoint.interface.as_deref()
    }

    /// Whether the component says something of its life: by its WIT that may be more than it exports.
    pub fn saves_state(&self) -> bool {
        self.other_exports.iter().any(|export| export.starts_with("micro:function/lifecycle@"))
    }

    /// Whether the component may call other services, here or elsewhere.
    pub fn calls_others(&self) -> bool {
        let is_way_out = |import: &String| WAYS_OUT.iter().any(|name| import.starts_with(name));
        !self.needs.is_empty() || self.imports.iter().any(is_way_out)
    }
}

/// The imports with which guests call services by name, and send HTTP requests.
const WAYS_OUT: [&str; 4] =
    ["micro:function/client@", "micro:function/events@", "wasi:http/outgoing-handler@", "wasi:http/client@"];

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads a component, or what becomes one. `deployment` names the endpoints of functions that the world itself exports; by default that is
/// the name in the manifest.
pub fn inspect(bytes: &[u8], deployment: Option<&str>) -> Result<Inspection, LoadError> {
    check_header(bytes)?;
    let manifest = manifest_of(bytes)?;
    let name = deployment
        .map(str::to_string)
        .or_else(|| manifest.as_ref().and_then(Manifest::full_name))
        .unwrap_or_else(|| "function".into());
    let inspection = match Deployable::read(bytes)? {
        Deployable::Program(_) => program(&name),
        Deployable::Component(component) => inspect_component(&component, &name)?,
    };
    Ok(Inspection { digest: digest(bytes), size: bytes.len(), manifest, ..inspection })
}

/// A program for WASIp1, but for what the file is.
fn program(name: &str) -> Inspection {
    Inspection {
        digest: String::new(),
        size: 0,
        manifest: None,
        imports: vec![WASI_P1.into()],
        endpoints: vec![command::endpoint(&own_prefix(name), WASI_P1.into())],
        other_exports: Vec::new(),
        needs: Vec::new(),
        descriptors: None,
        web: None,
        engine: EngineKind::Lean,
    }
}

/// What a component says, but for what the file is.
fn inspect_component(bytes: &[u8], name: &str) -> Result<Inspection, LoadError> {
    let (mut resolve, world) = decode(bytes)?;
    if let Some(section) = section::get(bytes, docs::SECTION).map_err(refused)? {
        Docs::read(section).apply(&mut resolve, world);
    }
    let mut reader =
        Reader { types: Types::new(&resolve), resolve: &resolve, endpoints: Vec::new(), other_exports: Vec::new() };
    reader.read_exports(world, name)?;
    let descriptors = reader.read_handler(bytes)?;
    reader.read_command(name);
    reader.check_names()?;
    let needs = reader.read_needs(world)?;
    let Reader { endpoints, other_exports, .. } = reader;
    let world_item = &resolve.worlds[world];
    let imports = world_item.imports.iter().filter(|(_, item)| !matches!(item, WorldItem::Type { .. }));
    let imports: Vec<String> = imports.map(|(key, _)| resolve.name_world_key(key)).collect();
    let is_async = features::imports_wasi_0_3(&imports)
        || features::uses_async(bytes)?
        || features::mentions_async(&resolve, world);
    Ok(Inspection {
        digest: String::new(),
        size: 0,
        manifest: None,
        imports,
        endpoints,
        web: Web::find(&other_exports).map(|(_, web)| web),
        other_exports,
        needs,
        descriptors: descriptors.map(|descriptors| STANDARD.encode(descriptors)),
        engine: if is_async { EngineKind::Concurrent } else { EngineKind::Lean },
    })
}

/// The manifest that a component holds.
pub fn manifest_of(bytes: &[u8]) -> Result<Option<Manifest>, LoadError> {
    let Some(section) = section::get(bytes, SECTION).map_err(refused)? else { return Ok(None) };
    let text = std::str::from_utf8(section).map_err(|_| refused("the manifest is not UTF-8"))?;
    Manifest::parse(text).map(Some).map_err(|error| refused(error.to_string()))
}

fn check_header(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() > MAX_COMPONENT {
        return Err(refused(format!(
            "{} is more than a component may have: {}",
            bytesize::ByteSize::b(bytes.len() as u64),
            bytesize::ByteSize::b(MAX_COMPONENT as u64)
        )));
    }
    if bytes.is_empty() {
        return Err(refused("the file is empty"));
    }
    if !wasmparser::Parser::is_component(bytes) && !module::is_module(bytes) {
        return Err(refused("not wasm: the file does not begin with a component's header"));
    }
    Ok(())
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(Resolve, WorldId), LoadError> {
    // The decoder makes room for as much as a section says of its length, even where there is less.
    section::check(bytes).map_err(refused)?;
    // The decoder holds things for impossible that bytes can say, and panics there.
    let decoded = std::panic::catch_unwind(|| wit_component::decode(bytes))
        .map_err(|_| refused("not a valid component: it has an export or import that WIT cannot say"))?
        .map_err(|error| refused(format!("not a valid component: {error:#}")))?;
    match decoded {
        DecodedWasm::Component(resolve, world) => Ok((resolve, world)),
        DecodedWasm::WitPackage(..) => Err(refused("a WIT package, which holds types and no code")),
    }
}

pub(crate) fn refused(reason: impl Into<String>) -> LoadError {
    LoadError::Refused(reason.into())
}

/// Collects the endpoints of a world.
struct Reader<'r> {
    resolve: &'r Resolve,
    types: Types<'r>,
    endpoints: Vec<Endpoint>,
    other_exports: Vec<String>,
}

impl<'r> Reader<'r> {
    fn read_exports(&mut self, world: WorldId, deployment: &str) -> Result<(), LoadError> {
        let own_prefix = own_prefix(deployment);
        for (key, item) in &self.resolve.worlds[world].exports {
            let id = self.resolve.name_world_key(key);
            match item {
                WorldItem::Function(function) => self.add(&own_prefix, None, function)?,
                WorldItem::Interface { .. }
                    if NOT_ENDPOINTS.iter().any(|prefix| id.starts_with(prefix))
                        && ![SUBSCRIBER, MESSAGING].iter().any(|prefix| id.starts_with(prefix)) =>
                {
                    self.other_exports.push(id);
                }
                WorldItem::Interface { id: interface, .. } => {
                    let prefix = match key {
                        WorldKey::Name(name) => title_case(name),
                        WorldKey::Interface(_) => {
                            title_case(self.resolve.interfaces[*interface].name.as_deref().unwrap_or(&id))
                        }
                    };
                    let id: Arc<str> = id.into();
                    for function in self.resolve.interfaces[*interface].functions.values() {
                        self.add(&prefix, Some(&id), function)?;
                    }
                    self.check_resources(&id, *interface)?;
                }
                WorldItem::Type { .. } => {}
            }
        }
        Ok(())
    }

    /// The endpoints of a component that is called with bytes, and the descriptor set that tells them.
    fn read_handler<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, LoadError> {
        if !self.other_exports.iter().any(|export| export == proto::INTERFACE) {
            return Ok(None);
        }
        self.other_exports.retain(|export| export != proto::INTERFACE);
        let Some(descriptors) = section::find(bytes, proto::SECTION).map_err(refused)? else {
            return Err(refused(format!(
                "the component exports {}, and has no custom section {} that tells its endpoints",
                proto::INTERFACE,
                proto::SECTION
            )));
        };
        let endpoints = Protos::read(descriptors).and_then(|protos| protos.endpoints());
        self.endpoints.extend(endpoints.map_err(refused)?);
        Ok(Some(descriptors))
    }

    /// What has nothing else that can be called, and runs as a program, is called by that.
    fn read_command(&mut self, deployment: &str) {
        if !self.endpoints.is_empty() || Web::find(&self.other_exports).is_some() {
            return;
        }
        if let Some(at) = self.other_exports.iter().position(|export| command::is_command(export)) {
            let interface = self.other_exports.remove(at);
            self.endpoints.push(command::endpoint(&own_prefix(deployment), interface));
        }
    }

    fn add(&mut self, prefix: &str, interface: Option<&Arc<str>>, function: &'r Function) -> Result<(), LoadError> {
        let first_param = function.params.first().map_or("", |param| &param.name);
        if LEFT_BEHIND.contains(&(interface.map(|id| &**id), &function.name, first_param)) {
            return Ok(());
        }
        // Methods belong to the endpoint that gives their resource out; see `streams`.
        if is_free(function) {
            let endpoint = self.read_endpoint(prefix, interface, function)?;
            self.endpoints.push(endpoint);
        }
        Ok(())
    }

    fn read_endpoint(
        &mut self,
        prefix: &str,
        interface: Option<&Arc<str>>,
        function: &'r Function,
    ) -> Result<Endpoint, LoadError> {
        let name = format!("{prefix}.{}", title_case(&function.name));
        let mut fields = Vec::with_capacity(function.params.len());
        for param in &function.params {
            let is_stream = streams::as_stream(self.resolve, &param.ty);
            if is_stream
                .map_err(|reason| refused(format!("endpoint {name}, parameter {}: {reason}", param.name)))?
                .is_some()
            {
                continue;
            }
            let ty = match interface {
                // The resource is made when it is called.
                Some(interface) if interface.starts_with(MESSAGING) => Ok(Type::Bytes),
                _ => self.types.read(&param.ty),
            };
            let ty = ty.map_err(|reason| refused(format!("endpoint {name}, parameter {}: {reason}", param.name)))?;
            fields.push(Field { name: crate::name::Name::new(&param.name), docs: None, ty });
        }
        let request = match fields.as_slice() {
            [Field { ty: Type::Record(record), .. }] => Request { message: record.clone(), is_one_record: true },
            _ => {
                let message = Record { name: title_case(&function.name).into(), docs: None, fields };
                Request { message: Arc::new(message), is_one_record: false }
            }
        };
        let found = match streams::native_of(self.resolve, &mut self.types, function) {
            Ok(None) => streams::of(self.resolve, &mut self.types, function),
            found => found,
        };
        let (reply, stream) = match found {
            // What a function that only takes a stream answers with is an ordinary reply.
            Ok(Some((stream, err))) if stream.gives.is_none() && stream.native.is_some() => {
                let result = function.result.as_ref().map(|ty| self.types.read(ty)).transpose();
                let result = result.map_err(|reason| refused(format!("endpoint {name}, result: {reason}")))?;
                debug_assert!(err.is_none());
                (Reply::of(result), Some(stream))
            }
            Ok(Some((stream, err))) => (Reply { ok: None, err }, Some(stream)),
            Ok(None) => {
                let result = function.result.as_ref().map(|ty| self.types.read(ty)).transpose();
                (Reply::of(result.map_err(|reason| refused(format!("endpoint {name}, result: {reason}")))?), None)
            }
            Err(reason) => return Err(refused(format!("endpoint {name}: {reason}"))),
        };
        Ok(Endpoint {
            name: name.into(),
            interface: interface.cloned(),
            function: function.name.as_str().into(),
            docs: text(&function.docs),
            request,
            reply,
            is_async: matches!(function.kind, FunctionKind::AsyncFreestanding),
            stream,
            raw: None,
        })
    }

    /// Every exported resource must be one that some endpoint streams by.
    fn check_resources(&self, id: &str, interface: InterfaceId) -> Result<(), LoadError> {
        let types = &self.resolve.interfaces[interface].types;
        let mut resources =
            types.iter().filter(|(_, id)| matches!(self.resolve.types[**id].kind, TypeDefKind::Resource));
        let is_streamed = |name: &str| {
            let of_interface = self.endpoints.iter().filter(|endpoint| endpoint.interface.as_deref() == Some(id));
            of_interface.filter_map(|endpoint| endpoint.stream.as_ref()).any(|stream| *stream.resource == *name)
        };
        match resources.find(|(name, _)| !is_streamed(name)) {
            Some((name, _)) => Err(refused(format!(
                "{id}: resource {name} is not callable from outside; a resource can only be a stream: returned by a \
                 function, and with a method `next` or `send`"
            ))),
            None => Ok(()),
        }
    }

    /// The imported interfaces that neither the host nor WASI gives.
    fn read_needs(&mut self, world: WorldId) -> Result<Vec<Need>, LoadError> {
        let mut needs = Vec::new();
        for (key, item) in &self.resolve.worlds[world].imports {
            let WorldItem::Interface { id: interface, .. } = item else { continue };
            let id: Arc<str> = self.resolve.name_world_key(key).into();
            if NOT_ENDPOINTS.iter().any(|prefix| id.starts_with(prefix)) {
                continue;
            }
            let interface = &self.resolve.interfaces[*interface];
            let prefix = title_case(interface.name.as_deref().unwrap_or(&id));
            let mut functions = Vec::with_capacity(interface.functions.len());
            for function in interface.functions.values() {
                if !is_free(function) {
                    return Err(not_imported(&id, &function.name));
                }
                let endpoint = self.read_endpoint(&prefix, Some(&id), function);
                let endpoint = endpoint.map_err(|error| refused(format!("import {id}: {error}")))?;
                if endpoint.stream.is_some() {
                    return Err(not_imported(&id, &endpoint.name));
                }
                functions.push(endpoint);
            }
            if !functions.is_empty() {
                needs.push(Need { interface: id, functions });
            }
        }
        Ok(needs)
    }

    fn check_names(&self) -> Result<(), LoadError> {
        let mut known = HashSet::new();
        for endpoint in &self.endpoints {
            if !known.insert(&endpoint.name) {
                let interfaces = self.endpoints.iter().filter(|other| other.name == endpoint.name);
                let interfaces: Vec<_> =
                    interfaces.map(|other| other.interface.as_deref().unwrap_or("the world itself")).collect();
                return Err(refused(format!(
                    "endpoint {} is exported twice, by {}: rename one of the interfaces",
                    endpoint.name,
                    interfaces.join(" and ")
                )));
            }
        }
        if self.endpoints.is_empty() && Web::find(&self.other_exports).is_none() {
            let found = match self.other_exports.as_slice() {
                [] => "it exports nothing".to_string(),
                others => format!("it exports only {}", others.join(", ")),
            };
            return Err(refused(format!(
                "the component has no endpoint: {found}; export an interface of your own with at least one function"
            )));
        }
        Ok(())
    }
}

/// What stands before the dot in the names of endpoints that no interface names.
fn own_prefix(deployment: &str) -> String {
    title_case(deployment.rsplit('.').next().unwrap_or(deployment))
}

fn not_imported(interface: &str, function: &str) -> LoadError {
    refused(format!(
        "import {interface}: {function} is part of a resource or stream, and those of other deployments are not imported: \
         streams are opened with micro:function/client"
    ))
}

fn is_free(function: &Function) -> bool {
    matches!(function.kind, FunctionKind::Freestanding | FunctionKind::AsyncFreestanding)
}

#[cfg(test)]
pub(crate) mod tests;
