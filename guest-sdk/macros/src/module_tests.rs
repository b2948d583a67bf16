use super::*;
use crate::wit;

/// Reads an item as the attribute does.
fn read_text(kind: Kind, arguments: &str, item: &str) -> Result<Api> {
    let arguments = Arguments::read(kind, arguments.parse().unwrap())?;
    read(kind, arguments, syn::parse_str(item)?, "micro").map(|(_, api)| api)
}

/// What the attribute says of a module with this inside.
fn refusal(inside: &str) -> String {
    let error = read_text(Kind::Service, "", &format!("mod m {{ {inside} }}")).expect_err(inside);
    error.into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_module_becomes_an_interface_with_its_doc_comments() {
    let api = read_text(
        Kind::Function,
        "",
        r#"
        /// Greets people.
        ///
        /// All of them.
        mod greeter {
            use std::collections::HashMap;
            /// Whom to greet.
            pub struct Request {
                /// Such as `John`.
                pub name: String,
                pub r#type: Option<Box<Mood>>,
                pub tags: HashMap<String, Vec<u8>>,
            }
            pub enum Mood { Good, VeryBad }
            /// What went wrong.
            pub enum Error { /** It was odd. */ Odd(u8, Id), Named { a: [u16; 3] }, Plain }
            pub struct Id(u64);
            type Names = Vec<String>;
            pub struct Unused<'a>(&'a str);
            /// Says hello.
            pub fn hello(request: Request) -> Result<Names, Error> { todo() }
            pub async fn slow(_times: u32, from: char) -> micro::Result<()> { todo() }
            pub fn count(to: u64) -> Result<Stream<Id>, micro::Error> { todo() }
            pub(crate) fn helper(x: &str) {}
        }
        "#,
    );
    let api = api.unwrap();
    let expected = r#"package micro-guest:micro-sdk-macros;

/// Greets people.
///
/// All of them.
interface greeter {
    use micro:function/types@0.1.0.{error as micro-error};

    enum mood {
        good,
        very-bad,
    }

    /// Whom to greet.
    record request {
        /// Such as `John`.
        name: string,
        %type: option<mood>,
        tags: map<string, list<u8>>,
    }

    type names = list<string>;

    type id = u64;

    /// What `named` carries.
    record error-named {
        a: list<u16, 3>,
    }

    /// What went wrong.
    variant error {
        /// It was odd.
        odd(tuple<u8, id>),
        named(error-named),
        plain,
    }

    /// Says hello.
    hello: func(request: request) -> result<names, error>;

    slow: async func(times: u32, %from: char) -> result<_, micro-error>;

    /// The messages of `count`.
    resource count-stream {
        next: func() -> result<option<id>, micro-error>;
    }

    count: func(to: u64) -> result<count-stream, micro-error>;
}

world greeter-component {
    export greeter;
}
"#;
    assert_eq!(wit::package(&api), expected);
    assert_eq!(api.fragment.toml(), "description = \"Greets people.\"\n");
    assert!(wit::contract(&api).contains("record error {"), "{}", wit::contract(&api));
}

#[test]
fn a_service_has_a_life_and_says_so_in_the_manifest() {
    let api = read_text(
        Kind::Service,
        "replicas = 2, health_interval = \"1s\", memory = \"16MiB\"",
        r#"
        mod jobs {
            #[micro::route(GET, "/jobs/{id}/{*rest}")]
            #[micro::schedule("*/5 * * * *", timezone = "Europe/Berlin")]
            #[subscribe("orders", queue = "billing")]
            pub fn sweep_all(id: u64, rest: String) {}
            #[micro::start] fn begin() {}
            #[micro::restore] fn back(state: &[u8]) {}
        }
        "#,
    );
    let api = api.unwrap();
    assert_eq!(
        api.fragment.toml(),
        "kind = \"service\"\n[limits]\nmemory = \"16MiB\"\n[service]\nreplicas = 2\nhealth-interval = \"1s\"\n\
         [[route]]\nmethod = \"GET\"\npath = \"/jobs/{id}/{*rest}\"\nendpoint = \"Jobs.SweepAll\"\n\
         [[schedule]]\ncron = \"*/5 * * * *\"\nendpoint = \"Jobs.SweepAll\"\ntimezone = \"Europe/Berlin\"\n\
         [[subscribe]]\ntopic = \"orders\"\nendpoint = \"Jobs.SweepAll\"\nqueue = \"billing\"\n"
    );
    assert!(wit::package(&api).contains("export micro:function/lifecycle@0.1.0;"));
    let contract = wit::contract(&api);
    assert!(contract.contains("restore: func(state: list<u8>) -> result<_, string>;"), "{contract}");
    assert!(!contract.contains("save") && !contract.contains("record error"), "{contract}");
    let moments: Vec<_> = api.lifecycle.iter().map(|moment| (moment.what, moment.by_reference)).collect();
    assert_eq!(moments, [(Lifecycle::Start, false), (Lifecycle::Restore, true)]);
}

#[test]
fn a_function_by_itself_is_of_the_crates_interface() {
    let api = read_text(Kind::Function, "", "/// Says hello.\npub fn hello(name: String) -> String { name }").unwrap();
    let text = wit::package(&api);
    assert!(text.contains("interface micro-sdk-macros {\n    /// Says hello.\n    hello: func"), "{text}");
    let error = read_text(Kind::Function, "", "fn hello(request: Request) {}").unwrap_err().to_string();
    assert!(error.contains("no struct or enum `Request` here") && error.contains("into a module"), "{error}");
}

#[test]
fn what_wit_cannot_say_is_refused_with_what_to_write() {
    for (inside, reason) in [
        ("pub fn f(x: &str) {}", "write String"),
        ("pub fn f(x: &[u8]) {}", "write Vec<T>"),
        ("pub fn f(x: usize) {}", "write u32 or u64"),
        ("pub fn f(x: Vec<u128>) {}", "write String, or two u64"),
        ("pub fn f(x: std::time::Duration) {}", "`timeout_ms: u64`"),
        ("pub fn f(x: serde_json::Value) {}", "`serde_json::Value` cannot cross"),
        ("pub fn f() -> impl Iterator<Item = u8> { 0..1 }", "micro::Stream<T>"),
        ("pub fn f(x: Box<dyn Send>) {}", "write an enum"),
        ("pub fn f<T>(x: T) {}", "WIT has no generics"),
        ("pub fn f<'a>(x: A<'a>) {}", "own what you hold"),
        ("pub struct A<T>(T); pub fn f(x: A<u8>) {}", "WIT has no generics"),
        ("pub fn f(x: HashMap<f32, u8>) {}", "Vec<(K, V)>"),
        ("pub fn f(x: [u8; N]) {}", "write it out"),
        ("pub fn f(x: ()) {}", "leave it out"),
        ("pub fn f(x: Unknown) {}", "define the struct or enum here"),
        ("pub fn f(x: super::Other) {}", "no struct or enum `super::Other` here"),
        ("pub fn f() -> anyhow::Result<u8> { Ok(1) }", "write micro::Error, String, or an enum"),
        ("pub fn f() -> Result<u8, std::io::Error> { Ok(1) }", "callers cannot read a `std::io::Error`"),
        ("pub struct A { b: Option<B> } pub struct B { a: Vec<A> } pub fn f(a: A) {}", "`A` holds itself (A → B → A)"),
        ("pub struct A {} pub fn f(a: A) {}", "no record without fields"),
        ("pub struct A; pub fn f(a: A) {}", "no record without fields"),
        ("pub enum A {} pub fn f(a: A) {}", "no enum without cases"),
        ("pub fn f(Pair(a, b): Pair) {}", "take it apart inside the function"),
        ("pub unsafe fn f() {}", "unsafe"),
        ("pub fn f(x: Vec<Stream<u8>>) {}", "by itself or in a Result"),
        ("pub struct Name { a: u8 } pub fn name(a: Name) {}", "`name` and `Name` are both `name` in WIT"),
        ("pub fn f(a_b: u8, aB: u8) {}", "another parameter has this name"),
        ("fn f() {}", "an endpoint is a `pub fn`"),
    ] {
        let said = refusal(inside);
        assert!(said.contains(reason), "{inside}\n  said: {said}");
    }
}

#[test]
fn marks_are_refused_where_they_mean_nothing() {
    for (inside, reason) in [
        ("#[route(GET, \"/a\")] fn f() {}", "write `pub fn`"),
        ("#[route(GET, \"/a/{b}\")] pub fn f(c: u8) {}", "{b}, but there is no such parameter or field"),
        ("pub struct R { c: u8 } #[route(GET, \"/a/{b}\")] pub fn f(b: R) {}", "no such parameter or field"),
        ("#[route(GET, \"a\")] pub fn f() {}", "begins with `/`"),
        ("#[route(FETCH, \"/a\")] pub fn f() {}", "no method `FETCH`"),
        ("#[route(HEAD, \"/a\")] pub fn f() {}", "the gateway calls nothing for HEAD: write one of GET, POST"),
        ("#[route(OPTIONS, \"/a\")] pub fn f() {}", "the gateway calls nothing for OPTIONS"),
        ("#[route(\"/a\")] pub fn f() {}", "expected a method and a path"),
        ("#[schedule(\"* * * * *\", timezone = now())] pub fn f() {}", "expected a text"),
        ("#[save] fn f(state: Vec<u8>) -> Vec<u8> {}", "`fn save() -> Vec<u8>`"),
        ("#[restore] fn f() {}", "restore(state: Vec<u8>)"),
        ("#[start] async fn f() {}", "the host waits"),
        ("#[start] fn f() {} #[start] fn g() {}", "another function is marked `start`"),
        ("#[start] #[route(GET, \"/a\")] pub fn f() {}", "no endpoint"),
    ] {
        let said = refusal(inside);
        assert!(said.contains(reason), "{inside}\n  said: {said}");
    }
    let error = read_text(Kind::Function, "replicas = 2", "mod m { pub fn f() {} }").unwrap_err().to_string();
    assert!(error.contains("a function has no `replicas`"), "{error}");
}

#[test]
fn what_may_be_there_or_not_is_refused() {
    for inside in [
        "#[cfg(unix)] pub fn f() {}",
        "#[cfg_attr(unix, route(GET, \"/a\"))] pub fn f() {}",
        "#[cfg(unix)] #[start] fn f() {}",
        "#[cfg(unix)] pub struct A { a: u8 } pub fn f(a: A) {}",
        "pub struct A { a: u8, #[cfg(unix)] b: u8 } pub fn f(a: A) {}",
        "pub struct A { a: u8, #[cfg_attr(unix, cfg(test))] b: u8 } pub fn f(a: A) {}",
        "pub struct A(u8, #[cfg(unix)] u8); pub fn f(a: A) {}",
        "pub enum A { B, #[cfg(unix)] C } pub fn f(a: A) {}",
    ] {
        let said = refusal(inside);
        assert!(said.contains("put `cfg` above the whole module"), "{inside}\n  said: {said}");
    }
    let inside = "#[cfg_attr(test, derive(Debug))] pub struct A { a: u8 } pub fn f(a: A) {} #[cfg(test)] fn g() {}";
    assert!(read_text(Kind::Function, "", &format!("mod m {{ {inside} }}")).is_ok());
}

#[test]
fn a_route_may_name_fields_of_a_record_that_goes_by_another_name() {
    for of in ["R", "Box<R>", "Alias", "Box<Alias>", "Newtype"] {
        let item = format!(
            "mod m {{ pub struct R {{ code: u8 }} type Alias = Box<R>; pub struct Newtype(R);
             #[route(GET, \"/s/{{code}}\")] pub fn f(x: {of}) {{}} }}"
        );
        let read = read_text(Kind::Function, "", &item);
        assert!(read.is_ok(), "{of}: {read:?}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let said = refusal("pub fn f(x: usize) {} pub fn g(x: &str) {} #[start] async fn h() {}");
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn what_is_written_is_rust() {
    let item =
        "mod m { pub enum E { A, B(u8) } pub struct R { e: E } pub fn f(r: R) -> Stream<R> { x } #[stop] fn s() {} }";
    let out = expand(Kind::Service, quote!(crate = ::micro), item.parse().unwrap()).unwrap();
    let file: syn::File = syn::parse2(out).unwrap();
    let text = prettyplease::unparse(&file);
    for wanted in [
        "::micro::wit_bindgen::generate!",
        "link_section = \"micro.wit\"",
        "link_section = \"micro.fragment\"",
        "impl ::micro::wire::Wire for super::R",
        "fn stop()",
    ] {
        assert!(text.contains(wanted), "{wanted}:\n{text}");
    }
}
