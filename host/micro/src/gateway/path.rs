//! Paths → names, by the rules of go-micro's api.
//!
//! | path | name | endpoint |
//! |---|---|---|
//! | `/greeter` | greeter | `Greeter.Call` |
//! | `/greeter/hello` | greeter | `Greeter.Hello` |
//! | `/greeter/say/hello` | greeter | `Say.Hello` |
//! | `/demo/greeter/say/hello` | demo.greeter | `Say.Hello` |
//! | `/v1/greeter/hello` | v1.greeter | `Greeter.Hello` |
//! | `/v1/greeter/say/hello` | v1.greeter | `Say.Hello` |
//!
//! Words are split at `-` and written with capitals: `/foo/bar/baz-xyz` is `Bar.BazXyz`.

use micro_engine::name::push_title_case;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Whom a path calls.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'p> {
    /// The service, without a namespace.
    pub name: Cow<'p, str>,
    /// The endpoint.
    pub endpoint: String,
}

/// A path of more parts names nothing.
const MAX_PARTS: usize = 32;

/// Tells whom `path` calls, or why nobody.
pub fn resolve(path: &str) -> Result<Target<'_>, String> {
    let decoded = match path.contains('%') {
        true => percent_decode_str(path).decode_utf8().map_err(|_| "the path is not UTF-8".to_string())?,
        false => Cow::Borrowed(path),
    };
    match decoded {
        Cow::Borrowed(path) => resolve_parts(&clean(path)?),
        Cow::Owned(path) => resolve_parts(&clean(&path)?)
            .map(|target| Target { name: Cow::Owned(target.name.into_owned()), endpoint: target.endpoint }),
    }
}

/// The parts of a path, with `.` and `..` resolved as Go's `path.Clean` does.
fn clean(path: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::with_capacity(4);
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part if parts.len() == MAX_PARTS => {
                return Err(format!("the path has more than {MAX_PARTS} parts, at {part:.40}"));
            }
            part => parts.push(part),
        }
    }
    Ok(parts)
}

fn resolve_parts<'p>(parts: &[&'p str]) -> Result<Target<'p>, String> {
    Ok(match *parts {
        [] => return Err("the path names no service".into()),
        [name] => Target { name: Cow::Borrowed(name), endpoint: endpoint(name, "call") },
        [name, method] => Target { name: Cow::Borrowed(name), endpoint: endpoint(name, method) },
        [version, name, method] if is_version(version) => {
            Target { name: Cow::Owned(format!("{version}.{name}")), endpoint: endpoint(name, method) }
        }
        [name, receiver, method] => Target { name: Cow::Borrowed(name), endpoint: endpoint(receiver, method) },
        [ref names @ .., receiver, method] => {
            Target { name: Cow::Owned(names.join(".")), endpoint: endpoint(receiver, method) }
        }
    })
}

fn endpoint(receiver: &str, method: &str) -> String {
    // A name with dots gives its last word: `go.micro.greeter` is `Greeter`.
    let receiver = receiver.rsplit('.').next().unwrap_or(receiver);
    let mut endpoint = String::with_capacity(receiver.len() + 1 + method.len());
    push_title_case(&mut endpoint, receiver);
    endpoint.push('.');
    push_title_case(&mut endpoint, method);
    endpoint
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_go_micros_api_names() {
        for (path, name, endpoint) in [
            ("/foo", "foo", "Foo.Call"),
            ("/foo/bar", "foo", "Foo.Bar"),
            ("/foo/foo/bar", "foo", "Foo.Bar"),
            ("/foo/bar/baz", "foo", "Bar.Baz"),
            ("/foo/bar/baz-xyz", "foo", "Bar.BazXyz"),
            ("/foo/fooBar/bazCat", "foo", "FooBar.BazCat"),
            ("/foo/bar/baz/cat", "foo.bar", "Baz.Cat"),
            ("/v1/foo/bar", "v1.foo", "Foo.Bar"),
            ("/v1/foo/bar/baz", "v1.foo", "Bar.Baz"),
            ("/v1/foo/bar/baz/cat", "v1.foo.bar", "Baz.Cat"),
            ("/v1/foo", "v1", "V1.Foo"),
            ("//foo/./x/../bar/", "foo", "Foo.Bar"),
            ("/demo.greeter/hello", "demo.greeter", "Greeter.Hello"),
            ("/f%6Fo/bar", "foo", "Foo.Bar"),
        ] {
            let target = resolve(path).unwrap();
            assert_eq!((&*target.name, &*target.endpoint), (name, endpoint), "{path}");
        }
    }

    #[test]
    fn a_path_that_names_nothing_is_an_error() {
        for path in ["/", "/..", "/%ff"] {
            assert!(resolve(path).is_err(), "{path}");
        }
        assert!(resolve(&"/x".repeat(100)).is_err());
    }
}
