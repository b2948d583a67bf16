//! The attributes of `micro-sdk`: plain Rust in, a component out.
//!
//! `#[micro::function]` and `#[micro::service]` read a module (or one function) and write beside it what WIT and the
//! component model want to have: the WIT text, the bindings that `wit_bindgen` makes of it, the conversions between the
//! author's types and those of the bindings, and two custom sections for `micro build`.
//!
//! Reading order: [`module`] (how it goes), [`attributes`] (what may be written), [`types`] and [`items`] (Rust in),
//! [`api`] (what was read), [`check`], [`wit`] and [`fragment`] (text out), [`expand`] (Rust out).

mod api;
mod attributes;
mod check;
mod expand;
mod generate;
mod fragment;
mod items;
mod module;
mod names;
mod sdk;
mod serve;
mod types;
mod wit;

use proc_macro::TokenStream;

use attributes::Kind;

/// Makes the public functions of a module, or one function, endpoints; each call gets a fresh instance.
///
/// The module `greeter` with `pub fn hello` is the endpoint `Greeter.Hello`. Its `pub` structs and enums become the
/// types of the API, its doc comments the API's documentation. A function by itself is an endpoint of an interface that
/// is named after the crate.
///
/// Arguments, all optional: `memory = "16MiB"`, `timeout = "1s"`, `concurrency = 8` and `queue = 16` are what the
/// manifest has below `[limits]`; `crate = path::to::micro_sdk` where the crate cannot be found by itself.
#[proc_macro_attribute]
pub fn function(arguments: TokenStream, item: TokenStream) -> TokenStream {
    module::expand(Kind::Function, arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Like [`macro@function`], with instances that live on from call to call: state is in statics, and `#[micro::start]`,
/// `#[micro::stop]`, `#[micro::health]`, `#[micro::save]` and `#[micro::restore]` mark the functions of its life.
///
/// Every argument that is not one of [`macro@function`] goes below `[service]` of the manifest: `replicas = 2`.
#[proc_macro_attribute]
pub fn service(arguments: TokenStream, item: TokenStream) -> TokenStream {
    module::expand(Kind::Service, arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Bindings for a function whose WIT is written first: `wit_bindgen::generate!` with everything set that the SDK knows.
///
/// It takes what that macro takes: nothing, the name of a world, or options in braces. It finds the contract
/// `micro:function` by itself, so that a world in the folder `wit` may `use micro:function/types@0.1.0.{error}`, and the
/// types of it are those of the SDK. What `micro wit NAME` prints goes into `wit/deps` as it is. `generate_all` is
/// set.
#[proc_macro]
pub fn generate(input: TokenStream) -> TokenStream {
    generate::expand(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Exports endpoints that a `.proto` file describes: `serve!(SayEndpoints<Say>, …)`, with what `micro-sdk-proto` made in
/// the build script.
#[proc_macro]
pub fn serve(input: TokenStream) -> TokenStream {
    serve::expand(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// These are read by the attribute of the module around them; by themselves they can only say where they belong.
macro_rules! inner {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[proc_macro_attribute]
        pub fn $name(_: TokenStream, item: TokenStream) -> TokenStream {
            let mut out: TokenStream = attributes::misplaced(stringify!($name)).into_compile_error().into();
            out.extend(item);
            out
        }
    )*};
}

inner! {
    /// Calls this endpoint for HTTP requests: `#[micro::route(GET, "/s/{code}")]`. What stands in braces is a parameter
    /// of the function, or a field of its one record.
    route
    /// Calls this endpoint by the clock: `#[micro::schedule("*/5 * * * *", timezone = "Europe/Berlin")]`.
    schedule
    /// Says that messages are for this endpoint: `#[micro::subscribe("orders", queue = "billing")]`. What is
    /// published is the endpoint's request; keys of `[[subscribe]]` may follow, such as `retries = 5`.
    subscribe
    /// Called before the first call: `fn start()` or `fn start() -> Result<(), E>`.
    start
    /// Called after the last call: `fn stop()`.
    stop
    /// Asked again and again whether calls may come: `fn health() -> Result<(), E>`.
    health
    /// What the successor has to know: `fn save() -> Vec<u8>`, or in a `Result`.
    save
    /// What the predecessor saved: `fn restore(state: Vec<u8>)`, which may return a `Result`.
    restore
}
