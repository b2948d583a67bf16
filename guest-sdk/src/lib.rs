//! What the author of a function uses.
//!
//! A function is a component: a WIT world says what it exports, [`wit_bindgen::generate!`] turns the
//! world into a trait, and the function implements that trait. This crate adds the types that
//! function and host have in common, so that an endpoint can choose the error its caller sees:
//!
//! ```
//! use micro_sdk::types::Error;
//!
//! micro_sdk::wit_bindgen::generate!({
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
//!     // The folder of `micro:function`. A world in a file of its own is named after it:
//!     // `path: ["../wit", "wit"]`.
//!     path: "../wit",
//!     runtime_path: "micro_sdk::wit_bindgen::rt",
//!     with: { "micro:function/types@0.1.0": micro_sdk::types },
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

pub use wit_bindgen;

pub mod types;
