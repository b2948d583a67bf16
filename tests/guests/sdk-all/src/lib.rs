//! Gives back what it gets, in every shape that the Rust SDK knows.

/// Shapes that come back as they went.
#[micro::function]
mod shapes {
    use std::collections::{BTreeMap, HashMap};

    /// All there is, in one record.
    pub struct All {
        pub truth: bool,
        /// The smallest numbers.
        pub small: (u8, i8, u16, i16),
        pub large: (u32, i32, u64, i64),
        pub real: (f32, f64),
        pub letter: char,
        pub text: String,
        pub bytes: Vec<u8>,
        pub list: Vec<Item>,
        pub fixed: [u16; 3],
        pub maybe: Option<Box<Item>>,
        pub tree: BTreeMap<String, Color>,
        pub hash: HashMap<u32, Vec<Item>>,
        pub outcome: Result<Id, Problem>,
        /// A keyword of Rust and of WIT.
        pub r#type: Color,
        pub pair: Pair,
        pub ids: Ids,
        pub field_1: Option<String>,
    }

    /// Nothing but names.
    #[derive(Clone, Copy)]
    pub enum Color {
        /// Like a rose.
        Red,
        DarkGreen,
    }

    /// Names that may carry something.
    pub enum Item {
        Nothing,
        One(u32),
        Two(String, Id),
        /// Carries fields.
        Named {
            /// Of the item.
            color: Color,
            list: Vec<String>,
        },
    }

    /// A number by another name.
    pub struct Id(pub u64);

    /// Two in one.
    pub struct Pair(pub Id, pub Color);

    /// Many of them.
    pub type Ids = Vec<Id>;

    pub enum Problem {
        Small,
        Large(String),
    }

    /// Gives back everything.
    pub fn everything(all: All) -> All {
        all
    }

    /// Several parameters are the fields of the request.
    pub fn several(first: String, second: Option<u8>, third: Ids) -> (String, Option<u8>, Ids) {
        (first, second, third)
    }

    /// Fails as it is told.
    pub fn fail(code: u16) -> Result<(), micro::Error> {
        if code == 0 { Ok(()) } else { Err(micro::Error::new(code, "as you wish")) }
    }

    /// An error of one's own.
    pub fn check(text: Option<String>) -> Result<String, Problem> {
        match text.as_deref() {
            None => Err(Problem::Small),
            Some("large") => Err(Problem::Large("too large".to_owned())),
            Some(text) => Ok(text.to_owned()),
        }
    }

    /// Takes nothing and gives nothing.
    pub fn nothing() {}

    /// HTTP's own reply.
    pub fn page(title: String) -> micro::HttpResponse {
        micro::HttpResponse::html(format!("<h1>{title}</h1>")).with_header("X-Page", "1")
    }

    /// Names that are keywords.
    pub fn list(r#type: String, from: u32) -> String {
        format!("{type}{from}")
    }
}

/// Another interface of the same component.
#[micro::function]
mod waiting {
    /// Gives back the text when everything else has had its turn.
    pub async fn say(text: String) -> Result<String, String> {
        micro::wit_bindgen::yield_async().await;
        if text.is_empty() { Err("nothing to say".to_owned()) } else { Ok(text) }
    }
}

/// An endpoint of the crate's own interface.
#[micro::function]
#[micro::route(GET, "/sdk/{name}")]
pub fn alone(name: String) -> String {
    name
}
