use super::*;

fn git(text: &str) -> (String, Option<String>, Option<String>) {
    match Reference::parse(text) {
        Ok(Reference::Git(GitReference { url, rev, folder })) => {
            (url, rev, folder.map(|folder| folder.to_string_lossy().into_owned()))
        }
        other => panic!("{text}: {other:?}"),
    }
}

fn refused(text: &str) -> String {
    match Reference::parse(text) {
        Err(error) => error.to_string(),
        Ok(reference) => panic!("{text}: {reference:?}"),
    }
}

#[test]
fn paths_stay_paths() {
    for text in [".", "functions/greeter", "../x.wasm", "./ghcr.io/x:1", "greeter.wasm", "a.b/c", "/a/b@c"] {
        assert_eq!(Reference::parse(text).unwrap(), Reference::Path(text.into()), "{text}");
    }
    assert_eq!(Reference::parse("file:///a/b.wasm").unwrap(), Reference::Path("/a/b.wasm".into()));
}

#[test]
fn git_urls_are_known_by_scheme_ending_and_place() {
    let commit = "a".repeat(40);
    for (text, url, rev, folder) in [
        ("https://example.com/a/b.git", "https://example.com/a/b.git", None, None),
        ("git+https://example.com/a/b", "https://example.com/a/b", None, None),
        ("git+file:///a/b", "file:///a/b", None, None),
        ("file:///a/b.git#v1.0", "file:///a/b.git", Some("v1.0"), None),
        ("https://example.com/b.git//sub/dir#main", "https://example.com/b.git", Some("main"), Some("sub/dir")),
        ("https://example.com/b.git#main//sub", "https://example.com/b.git", Some("main"), Some("sub")),
        ("git@example.com:a/b.git//sub", "git@example.com:a/b.git", None, Some("sub")),
        ("ssh://git@example.com:22/b", "ssh://git@example.com:22/b", None, None),
        ("github.com/user/repo", "https://github.com/user/repo", None, None),
        ("github.com/user/repo/sub/dir@v2", "https://github.com/user/repo", Some("v2"), Some("sub/dir")),
        ("https://github.com/user/repo", "https://github.com/user/repo", None, None),
        ("http://127.0.0.1:8000/b.git", "http://127.0.0.1:8000/b.git", None, None),
        (&format!("http://example.com/b.git#{commit}"), "http://example.com/b.git", Some(commit.as_str()), None),
    ] {
        assert_eq!(git(text), (url.to_owned(), rev.map(str::to_owned), folder.map(str::to_owned)), "{text}");
    }
}

#[test]
fn what_git_would_take_for_something_else_is_refused() {
    for (text, reason) in [
        ("git+ext::sh -c x", "expected a git URL"),
        ("git+--upload-pack=x", "expected a git URL"),
        ("https://example.com/b.git#--upload-pack=x", "a branch, a tag or a commit"),
        ("https://example.com/b.git#main:other", "a branch, a tag or a commit"),
        ("https://example.com/b.git//../x", "a folder of the repository"),
        ("http://example.com/b.git", "without TLS"),
        ("http://example.com/b.git#main", "without TLS"),
        ("github.com/user", "github.com/USER/REPOSITORY"),
    ] {
        let error = refused(text);
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn references_of_registries_need_a_registry_and_a_tag_unless_they_say_what_they_are() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    for (text, whole) in [
        ("oci://ghcr.io/me/greeter:1.0", "ghcr.io/me/greeter:1.0"),
        ("oci://localhost:5000/greeter", "localhost:5000/greeter:latest"),
        ("ghcr.io/me/greeter:1.0", "ghcr.io/me/greeter:1.0"),
        ("127.0.0.1:5000/greeter:1", "127.0.0.1:5000/greeter:1"),
        (&format!("ghcr.io/me/greeter@{digest}"), &format!("ghcr.io/me/greeter@{digest}")),
    ] {
        match Reference::parse(text) {
            Ok(Reference::Oci(reference)) => assert_eq!(reference.whole(), whole, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(refused("oci://greeter:1").contains("no registry"));
    assert!(refused("oci://ghcr.io/Me/greeter:1").contains("REGISTRY/REPOSITORY"));
    assert!(oci("greeter").is_err());
}

#[test]
fn a_file_over_plain_http_needs_its_digest() {
    let hex = "AB".repeat(32);
    let Ok(Reference::Web(web)) = Reference::parse(&format!("http://example.com/f.wasm?x=1#sha256:{hex}")) else {
        panic!("it is a file");
    };
    assert_eq!(web.url.as_str(), "http://example.com/f.wasm?x=1");
    assert_eq!(web.digest, Some(format!("sha256:{}", "ab".repeat(32))));
    assert!(matches!(Reference::parse("https://github.com/a/b/releases/download/1/f.wasm"), Ok(Reference::Web(_))));
    assert!(refused("http://example.com/f.wasm").contains("add its digest"));
    assert!(refused("https://example.com/f.wasm#sha256:abc").contains("64 hexadecimal"));
    assert!(refused("ftp://example.com/f.wasm").contains("unknown scheme ftp"));
}

#[test]
fn passwords_are_not_shown() {
    assert_eq!(redacted("https://me:secret@example.com/b.git"), "https://…@example.com/b.git");
    assert_eq!(redacted("git+https://token@example.com/b.git#x"), "git+https://…@example.com/b.git#x");
    assert_eq!(redacted("ssh://git@example.com/b"), "ssh://git@example.com/b");
    assert!(!refused("http://me:secret@example.com/b.git").contains("secret"));
}

#[test]
fn a_repository_names_its_package() {
    for (text, name) in [("github.com/user/repo", "repo"), ("git@example.com:b.git", "b"), ("file:///a/b.git", "b")] {
        let Ok(Reference::Git(reference)) = Reference::parse(text) else { panic!("{text}") };
        assert_eq!(reference.name(), name);
    }
    for (authority, is_here) in [("localhost:5000", true), ("127.0.0.1", true), ("[::1]:80", true), ("ghcr.io", false)]
    {
        assert_eq!(is_loopback(authority), is_here, "{authority}");
    }
}

#[test]
fn a_password_behind_more_slashes_than_two_is_not_shown() {
    for text in ["https:///user:secret@host/x", "https://\\user:secret@host/x", "https://user:secret@host\\x"] {
        let shown = redacted(text);
        assert!(!shown.contains("secret") && shown.starts_with("https://…@host"), "{text} is shown as {shown}");
    }
}
