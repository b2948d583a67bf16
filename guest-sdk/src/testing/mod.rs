//! What stands in for the host under `cargo test`.
//!
//! Endpoints are plain functions, so a test calls them. What they ask of the host goes to the mocks that the test sets up
//! on its own thread; each lasts as long as the guard that it returns.
//!
//! ```standalone_crate
//! # extern crate micro_sdk as micro;
//! #[micro::function]
//! mod welcome {
//!     pub fn page(name: String) -> Result<String, micro::Error> {
//!         let visits: u64 = micro::store::Store::own().update(&name, |old: Option<u64>| old.unwrap_or(0) + 1)?;
//!         let greeting: String = micro::call("greeter", "Say.Hello", &micro::json!({ "name": name }))?;
//!         Ok(format!("{greeting}, for the {visits}. time"))
//!     }
//! }
//!
//! # fn main() {
//! let _calls = micro::testing::mock_call(|service, endpoint, body| {
//!     assert_eq!((service, endpoint), ("greeter", "Say.Hello"));
//!     Ok(micro::json!({ "result": format!("Hello {}", body["name"].as_str().unwrap_or_default()) }))
//! });
//! let _store = micro::testing::store();
//!
//! assert_eq!(welcome::page("John".to_owned()), Ok("Hello John, for the 1. time".to_owned()));
//! assert_eq!(welcome::page("John".to_owned()), Ok("Hello John, for the 2. time".to_owned()));
//! # }
//! ```

pub(crate) mod calls;
pub(crate) mod events;
pub(crate) mod outbox;
pub(crate) mod stores;

pub use calls::{MockedCalls, MockedStreams, mock_bytes, mock_call, mock_stream};
pub use events::{Delivered, Published, delivery, events};
pub use stores::{MockedStore, store};

/// Runs an `async` endpoint to its end.
///
/// For functions that wait for nothing but their own code: there is no timer and no socket here that would wake one up.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::yield_now();
    }
}
