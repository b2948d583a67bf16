use super::*;
use crate::inspect::{inspect, manifest_of, tests as components};
use proptest::prelude::*;

/// A program that does nothing.
const PROGRAM_TEXT: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (call $exit (i32.const 0))))"#;

/// What Go does.
const TWICE: &str = r#"(module
    (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
    (memory (export "memory") 1)
    (func (export "_start") (call $exit (call $yield))))"#;

const TYPED: &str =
    "package demo:greeter; interface say { hello: func(name: string) -> string; } world w { export say; }";

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn refusal(text: &str) -> String {
    inspect(&module(text), None).unwrap_err().to_string()
}

#[test]
fn a_program_is_a_command_and_stays_what_it_is() {
    let module = module(PROGRAM_TEXT);
    let inspection = inspect(&module, Some("quiet")).unwrap();
    assert_eq!((inspection.command(), inspection.imports.as_slice()), (Some(WASI_P1), &[WASI_P1.to_string()][..]));
    assert!(inspection.endpoint("Quiet.Run").is_some());
    assert_eq!((inspection.digest, inspection.size), (crate::inspect::digest(&module), module.len()));
    let component = Deployable::read(&module).unwrap().into_component().unwrap();
    wasmparser::Validator::new().validate_all(&component).unwrap();
    assert!(matches!(Deployable::read(&component).unwrap(), Deployable::Component(Cow::Borrowed(_))));
}

#[test]
fn what_is_imported_twice_gets_two_names() {
    let module = module(TWICE);
    let component = Deployable::read(&module).unwrap().into_component().unwrap();
    wasmparser::Validator::new().validate_all(&component).unwrap();
    let text = String::from_utf8_lossy(&component);
    assert_eq!(text.matches("wasi_snapshot_preview1 2").count(), 1);
    assert_eq!(inspect(&module, None).unwrap().imports, [WASI_P1]);
}

#[test]
fn our_sections_are_read_and_written() {
    let module = module(PROGRAM_TEXT);
    let with_manifest = manifest::embed(&module, "name = \"quiet\"\nargs = [\"-l\"]").unwrap();
    let manifest = manifest_of(&with_manifest).unwrap().unwrap();
    assert_eq!((manifest.name.as_deref(), manifest.args.len()), (Some("quiet"), 1));
    assert!(inspect(&with_manifest, None).unwrap().endpoint("Quiet.Run").is_some());
    let again = manifest::embed(&with_manifest, "name = \"loud\"").unwrap();
    assert!(inspect(&again, None).unwrap().endpoint("Loud.Run").is_some());
    let typed = manifest::embed(&components::typed_module(TYPED), "name = \"typed\"").unwrap();
    let component = Deployable::read(&typed).unwrap().into_component().unwrap().into_owned();
    assert_eq!(manifest_of(&component).unwrap().unwrap().name.as_deref(), Some("typed"));
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
}

#[test]
fn what_is_no_program_and_has_no_types_is_refused() {
    for text in ["(module)", r#"(module (func (export "add")))"#, r#"(module (memory (export "_start") 1))"#] {
        assert!(refusal(text).contains("it exports no function _start"), "{text}");
    }
    let reason = refusal(r#"(module (func (export "_start")))"#);
    assert!(reason.contains("no memory called memory"), "{reason}");
    let mut broken = module(PROGRAM_TEXT);
    broken.truncate(broken.len() - 3);
    assert!(inspect(&broken, None).is_err());
}

#[test]
fn a_module_with_types_has_the_endpoints_that_they_tell() {
    let module = components::typed_module(TYPED);
    let inspection = inspect(&module, None).unwrap();
    assert!(inspection.endpoint("Say.Hello").is_some());
    assert_eq!((inspection.command(), &*inspection.digest), (None, &*crate::inspect::digest(&module)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_modules_never_make_it_panic(damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = module(TWICE);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        drop(inspect(&bytes, None));
        drop(Deployable::read(&bytes).and_then(Deployable::into_component));
    }
}
