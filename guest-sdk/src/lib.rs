//! What the author of a function uses.
//!
//! A function is a module. Its public functions can be called, its public types are the API's, and its doc comments are
//! the API's documentation; no WIT has to be written, since [`function`](macro@function) writes it:
//!
//! ```standalone_crate
//! # extern crate micro_sdk as micro;
//! /// Greets people.
//! #[micro::function]
//! mod say {
//!     /// Whom to greet.
//!     pub struct Request {
//!         /// Their name, such as `John`.
//!         pub name: String,
//!     }
//!
//!     /// The greeting.
//!     pub struct Response {
//!         pub msg: String,
//!     }
//!
//!     /// Says hello. Callers know this as `Say.Hello`.
//!     pub fn hello(request: Request) -> Result<Response, micro::Error> {
//!         if request.name.is_empty() {
//!             return Err(micro::Error::bad_request("the name is empty"));
//!         }
//!         Ok(Response { msg: format!("Hello {}", request.name) })
//!     }
//! }
//!
//! # fn main() {
//! let response = say::hello(say::Request { name: "John".to_owned() });
//! assert_eq!(response.map(|response| response.msg), Ok("Hello John".to_owned()));
//! # }
//! ```
//!
//! The crate is a `cdylib` that knows this one as `micro`, or by its own name:
//!
//! ```toml
//! [dependencies]
//! micro = { package = "micro-sdk", path = "sdk/micro-sdk" }
//! ```
//!
//! # A service
//!
//! [`service`](macro@service) makes instances that live on: state is in statics, and what is marked is called in the course
//! of an instance's life.
//!
//! ```standalone_crate
//! # extern crate micro_sdk as micro;
//! #[micro::service(replicas = 1)]
//! mod counter {
//!     use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//!     static TOTAL: AtomicU64 = AtomicU64::new(0);
//!
//!     /// Adds to the total.
//!     #[micro::route(POST, "/v1/counter/{by}")]
//!     pub fn add(by: u64) -> u64 {
//!         TOTAL.fetch_add(by, Relaxed) + by
//!     }
//!
//!     /// Begins anew.
//!     #[micro::schedule("0 0 * * *", timezone = "Europe/Berlin")]
//!     pub fn reset() {
//!         TOTAL.store(0, Relaxed);
//!     }
//!
//!     /// What the next revision has to know.
//!     #[micro::save]
//!     fn save() -> Vec<u8> {
//!         TOTAL.load(Relaxed).to_le_bytes().to_vec()
//!     }
//!
//!     #[micro::restore]
//!     fn restore(state: &[u8]) -> Result<(), std::array::TryFromSliceError> {
//!         TOTAL.store(u64::from_le_bytes(state.try_into()?), Relaxed);
//!         Ok(())
//!     }
//! }
//! # fn main() {
//! #     assert_eq!(counter::add(2), 2);
//! # }
//! ```
//!
//! # Types
//!
//! | Rust | WIT |
//! |---|---|
//! | `bool`, `char`, `u8` … `u64`, `i8` … `i64`, `f32`, `f64`, `String` | the same |
//! | `Vec<T>`, `[T; 4]`, `Option<T>`, `Result<T, E>`, tuples | the same; `Vec<u8>` is bytes |
//! | `HashMap<K, V>`, `BTreeMap<K, V>` | `map<K, V>`, an object in JSON |
//! | a struct; `struct Id(u64)`; `type Ids = Vec<Id>` | a record; another name for `u64`; another name |
//! | an enum without, and with fields | an enum, a variant |
//! | [`Error`], [`HttpResponse`] | those of `micro:function/types` |
//! | [`Stream`], [`Upload`], [`Exchange`], returned | a resource, which makes a streaming endpoint |
//!
//! Structs and enums are those of the module: an attribute sees no further. What WIT cannot say is refused at the place
//! where it stands, with what to write instead:
//!
//! ```compile_fail,standalone_crate
//! # extern crate micro_sdk as micro;
//! #[micro::function]
//! mod sizes {
//!     // `usize` cannot cross between host and function: its size differs between guest and host: write u32 or u64
//!     pub fn size(of: String) -> usize {
//!         of.len()
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! ```compile_fail,standalone_crate
//! # extern crate micro_sdk as micro;
//! #[micro::function]
//! mod trees {
//!     // `Node` holds itself (Node → Node), which no WIT type can: refer to it by a key
//!     pub struct Node {
//!         pub children: Vec<Node>,
//!     }
//!
//!     pub fn count(root: Node) -> u32 {
//!         root.children.len() as u32
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! # WIT first
//!
//! A world that is written by hand, or an import of another component's interface, goes through [`generate!`]:
//!
//! ```
//! use micro_sdk::types::Error;
//!
//! micro_sdk::generate!({
//!     inline: "
//!         package demo:users@0.1.0;
//!
//!         interface directory {
//!             use micro:function/types@0.1.0.{error};
//!
//!             email: func(name: string) -> result<string, error>;
//!         }
//!
//!         world users {
//!             export directory;
//!         }
//!     ",
//! });
//!
//! struct Users;
//!
//! impl exports::demo::users::directory::Guest for Users {
//!     fn email(name: String) -> Result<String, Error> {
//!         match name.as_str() {
//!             "john" => Ok("john@example.com".to_owned()),
//!             "" => Err(Error::bad_request("the name is empty")),
//!             _ => Err(Error::not_found(format!("nobody is called {name}"))),
//!         }
//!     }
//! }
//!
//! export!(Users);
//! # fn main() {}
//! ```

// So that what the attributes write, which says `::micro_sdk`, holds in here, too.
extern crate self as micro_sdk;

pub use client::call;
pub use micro_sdk_macros::{function, generate, serve, service};
pub use micro_sdk_macros::{health, restore, route, save, schedule, start, stop, subscribe};
pub use serde_json::{self, json};
pub use stream::{Exchange, Stream, Upload};
pub use types::{Error, HttpResponse};
pub use wit_bindgen;

mod bindings;
pub mod client;
pub mod events;
pub mod lifecycle;
pub mod log;
pub mod outbox;
pub mod proto;
pub mod store;
pub mod stream;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod types;
pub mod wire;

/// A result with the error that callers see.
pub type Result<T, E = Error> = std::result::Result<T, E>;
