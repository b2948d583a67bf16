use super::*;
use crate::inspect::{inspect, manifest_of, tests as components};
use proptest::prelude::*;

/// A program that does nothing.
const PROGRAM: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (call $exit (i32.const 0))))"#;

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn refusal(text: &str) -> String {
    inspect(&module(text), None).unwrap_err().to_string()
}

#[test]
fn a_program_becomes_a_component_that_is_a_command() {
    let module = module(PROGRAM);
    let component = as_component(&module).unwrap();
    let inspection = inspect(&component, Some("quiet")).unwrap();
    assert!(inspection.command().unwrap().starts_with("wasi:cli/run@0.2."), "{inspection:?}");
    assert!(inspection.endpoint("Quiet.Run").is_some());
    // The module is known by what it becomes, every time.
    let of_module = inspect(&module, Some("quiet")).unwrap();
    assert_eq!((of_module.digest, of_module.size), (inspection.digest, inspection.size));
    assert!(matches!(as_component(&component).unwrap(), Cow::Borrowed(_)), "a component stays what it is");
    assert_eq!(to_component(b"neither".to_vec()), b"neither");
}

#[test]
fn our_sections_go_along() {
    let module = module(PROGRAM);
    let with_manifest = manifest::embed(&module, "name = \"quiet\"\nargs = [\"-l\"]").unwrap();
    let component = as_component(&with_manifest).unwrap();
    let manifest = manifest_of(&component).unwrap().unwrap();
    assert_eq!((manifest.name.as_deref(), manifest.args.len()), (Some("quiet"), 1));
    assert!(inspect(&with_manifest, None).unwrap().endpoint("Quiet.Run").is_some());
}

#[test]
fn imports_from_elsewhere_are_refused_by_their_names() {
    let reason = refusal(
        r#"(module (import "env" "foo" (func)) (import "wasi_unstable" "fd_write" (func)) (func (export "_start")))"#,
    );
    assert!(reason.contains("\n  env.foo\n  wasi_unstable.fd_write\n"), "{reason}");
    assert!(reason.contains("import from wasi_snapshot_preview1 alone"), "{reason}");
    let many: String = (0..20).map(|index| format!("(import \"env\" \"f{index}\" (func))")).collect();
    let reason = refusal(&format!("(module {many} (func (export \"_start\")))"));
    assert!(reason.contains("\n  and 12 more\n"), "{reason}");
    let reason = refusal(
        r#"(module (import "wasi_snapshot_preview1" "not_there" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
    );
    assert!(reason.contains("does not become a component") && reason.contains("not_there"), "{reason}");
}

#[test]
fn what_is_no_program_and_has_no_types_is_refused() {
    for text in ["(module)", r#"(module (func (export "add")))"#, r#"(module (memory (export "_start") 1))"#] {
        assert!(refusal(text).contains("it exports no function _start"), "{text}");
    }
    let reason = refusal(r#"(module (func (export "_start")))"#);
    assert!(reason.contains("no memory called memory"), "{reason}");
    let mut broken = module(PROGRAM);
    broken.truncate(broken.len() - 3);
    assert!(inspect(&broken, None).is_err());
}

#[test]
fn a_module_with_types_has_the_endpoints_that_they_tell() {
    let module = components::typed_module(
        "package demo:greeter; interface say { hello: func(name: string) -> string; } world w { export say; }",
    );
    let inspection = inspect(&module, None).unwrap();
    assert!(inspection.endpoint("Say.Hello").is_some());
    assert_eq!(inspection.command(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_modules_never_make_it_panic(damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = module(PROGRAM);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        drop(inspect(&bytes, None));
    }
}
