//! The WIT by which other guests import what a component exports.
//!
//! It is what the component says of itself, cut down to the exported interfaces and what these use, with the doc comments
//! that `micro build` put into it. Laid into the `wit/deps` folder of another package it makes a typed client.
//!
//! Of the contract, `micro:function`, a component keeps the types that it uses. Those interfaces are printed whole:
//! linkers merge what the crates of the caller know of them, and two different cuts do not merge.

use crate::docs::{self, Docs};
use crate::error::LoadError;
use crate::inspect::{NOT_ENDPOINTS, decode};
use crate::module::Deployable;
use crate::section;
use std::collections::HashSet;
use wit_component::WitPrinter;
use wit_parser::{InterfaceId, PackageId, Resolve, WorldId, WorldItem, WorldKey};

/// The contract: the files in which others may find types.
const CONTRACT: [&str; 4] = [
    include_str!("../../../wit/types.wit"),
    include_str!("../../../wit/client.wit"),
    include_str!("../../../wit/handler.wit"),
    include_str!("../../../wit/store.wit"),
];

/// The line that names the package in each of them.
const CONTRACT_NAME: &str = "package micro:function@0.1.0;";

/// The text of a WIT file that can be imported from. The first package is that of the first exported interface; others
/// are nested in the file.
pub fn wit_text(bytes: &[u8]) -> Result<String, LoadError> {
    let component = match Deployable::read(bytes)? {
        Deployable::Component(component) => component,
        Deployable::Program(_) => {
            return Err(LoadError::Refused("a program has no interface that could be imported".into()));
        }
    };
    let bytes = &*component;
    let (mut resolve, world) = decode(bytes)?;
    if let Some(section) = section::get(bytes, docs::SECTION).map_err(LoadError::Refused)? {
        Docs::read(section).apply(&mut resolve, world);
    }
    let exported = exported(&resolve, world);
    let used = with_uses(&resolve, &exported);
    let Some((main, nested)) = packages(&resolve, &used).split_first().map(|(main, nested)| (*main, nested.to_vec()))
    else {
        return Err(LoadError::Refused(
            "it exports no interface that has a name, so there is nothing to import: its functions can be called by \
             name, with micro:function/client"
                .into(),
        ));
    };
    let of_contract: HashSet<PackageId> = nested.iter().copied().filter(|id| is_contract(&resolve, *id)).collect();
    let nested: Vec<PackageId> = nested.into_iter().filter(|id| !of_contract.contains(id)).collect();
    let whole: Vec<String> = of_contract.iter().flat_map(|id| names(&resolve, *id, &used)).collect();
    for (_, package) in resolve.packages.iter_mut() {
        // The rest of a package may name what is not printed.
        package.interfaces.retain(|_, interface| used.contains(interface));
        package.worlds.clear();
    }
    let mut printer = WitPrinter::default();
    printer.print(&resolve, main, &nested).map_err(unwritten)?;
    let mut text = printer.output.to_string().trim_end().to_string();
    text.push('\n');
    if !whole.is_empty() {
        text.push_str(&contract(&whole).map_err(unwritten)?);
    }
    Ok(text)
}

fn unwritten(error: impl std::fmt::Display) -> LoadError {
    LoadError::Host(format!("its WIT cannot be written: {error:#}"))
}

/// Whether a package is the contract in the version that we have the text of.
fn is_contract(resolve: &Resolve, package: PackageId) -> bool {
    resolve.packages.get(package).is_some_and(|package| CONTRACT_NAME == format!("package {};", package.name))
}

/// The names of a package's interfaces that are used.
fn names(resolve: &Resolve, package: PackageId, used: &[InterfaceId]) -> Vec<String> {
    let of_package = used.iter().filter_map(|id| resolve.interfaces.get(*id)).filter(|it| it.package == Some(package));
    of_package.filter_map(|interface| interface.name.clone()).collect()
}

/// These interfaces of the contract, all that is in them, as a package inside another text.
fn contract(interfaces: &[String]) -> Result<String, String> {
    let mut text = format!("{CONTRACT_NAME}\n");
    for file in CONTRACT {
        let (_, interface) = file.split_once(CONTRACT_NAME).ok_or("the contract has another name")?;
        text.push_str(interface);
    }
    let mut resolve = Resolve::default();
    let package = resolve.push_str("contract.wit", &text).map_err(|error| format!("{error:#}"))?;
    resolve.packages[package].interfaces.retain(|name, _| interfaces.contains(name));
    let mut printer = WitPrinter::default();
    printer.print(&resolve, package, &[]).map_err(|error| format!("{error:#}"))?;
    let printed = printer.output.to_string();
    let mut text = format!("\n{} {{\n", CONTRACT_NAME.trim_end_matches(';'));
    for line in printed.trim_end().lines().skip_while(|line| line.is_empty() || line.starts_with("package ")) {
        text.push_str(if line.is_empty() { "" } else { "  " });
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("}\n");
    Ok(text)
}

/// The interfaces that callers reach, in the order of the world.
fn exported(resolve: &Resolve, world: WorldId) -> Vec<InterfaceId> {
    let exports = resolve.worlds[world].exports.iter();
    let interfaces = exports.filter_map(|(key, item)| match (key, item) {
        (WorldKey::Interface(_), WorldItem::Interface { id, .. }) => {
            let name = resolve.name_world_key(key);
            (!NOT_ENDPOINTS.iter().any(|prefix| name.starts_with(prefix))).then_some(*id)
        }
        _ => None,
    });
    interfaces.collect()
}

/// These interfaces, and those whose types they use, each once and after the ones that use it first.
fn with_uses(resolve: &Resolve, interfaces: &[InterfaceId]) -> Vec<InterfaceId> {
    let mut all = interfaces.to_vec();
    let mut seen: HashSet<InterfaceId> = all.iter().copied().collect();
    let mut at = 0;
    while let Some(interface) = all.get(at).copied() {
        all.extend(resolve.interface_direct_deps(interface).filter(|used| seen.insert(*used)));
        at += 1;
    }
    all
}

/// The packages of these interfaces, in that order.
fn packages(resolve: &Resolve, interfaces: &[InterfaceId]) -> Vec<PackageId> {
    let mut seen = HashSet::new();
    let packages = interfaces.iter().filter_map(|interface| resolve.interfaces[*interface].package);
    packages.filter(|package| seen.insert(*package)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::tests::component;

    const GREETER: &str = "
        package demo:greeter@0.1.0;

        interface types {
            record person { name: string }
        }

        interface say {
            use types.{person};
            use demo:words/moods.{mood};

            hello: func(who: person, mood: mood) -> string;
        }

        interface unrelated {
            ping: func();
        }

        world greeter {
            import unrelated;
            export say;
            export micro:function/lifecycle;
        }

        package demo:words {
            interface moods { enum mood { glad, sad } }
        }

        package micro:function {
            interface lifecycle { start: func(); }
        }
    ";

    #[test]
    fn exports_are_printed_with_all_that_they_use_and_nothing_else() {
        let docs = [("demo:greeter/say#hello".to_string(), "Says hello.".to_string())];
        let docs = serde_json::to_vec(&std::collections::BTreeMap::from(docs)).unwrap();
        let component = section::put(&component(GREETER), docs::SECTION, &docs).unwrap();
        let text = wit_text(&component).unwrap();
        assert!(text.starts_with("package demo:greeter@0.1.0;\n"), "{text}");
        assert!(text.contains("    /// Says hello.\n") || text.contains("  /// Says hello.\n"), "{text}");
        assert!(text.contains("package demo:words {") && text.contains("record person"), "{text}");
        for word in ["world", "unrelated", "lifecycle", "root"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn another_package_can_import_what_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("deps")).unwrap();
        let caller = "package my:caller; world caller { import demo:greeter/say@0.1.0; export run: func(); }";
        std::fs::write(folder.path().join("caller.wit"), caller).unwrap();
        std::fs::write(folder.path().join("deps/greeter.wit"), wit_text(&component(GREETER)).unwrap()).unwrap();
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(folder.path()).unwrap();
        let world = resolve.select_world(&[package], None).unwrap();
        let imports: Vec<String> =
            resolve.worlds[world].imports.keys().map(|import| resolve.name_world_key(import)).collect();
        assert!(imports.contains(&"demo:greeter/say@0.1.0".to_string()), "{imports:?}");
    }

    #[test]
    fn the_contract_is_printed_whole_where_it_is_used() {
        let user = "
            package demo:users;
            interface directory {
                use micro:function/types@0.1.0.{error};
                find: func(name: string) -> result<string, error>;
            }
            world users { export directory; }
            package micro:function@0.1.0 {
                interface types {
                    record error { id: string, code: u16, detail: string, status: string }
                }
            }
        ";
        let text = wit_text(&component(user)).unwrap();
        assert!(text.starts_with("package demo:users;\n"), "{text}");
        assert_eq!(text.matches("package micro:function@0.1.0 {\n").count(), 1, "{text}");
        for part in ["record error", "type metadata", "record message", "record context", "record http-response"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("interface client"), "{text}");
        let mut resolve = Resolve::default();
        resolve.push_str("users.wit", &text).unwrap();
    }

    #[test]
    fn a_section_that_is_shorter_than_it_says_takes_no_memory_of_its_length() {
        let mut bytes = component(GREETER);
        // A custom section of two gigabytes.
        bytes.extend([0, 0xff, 0xff, 0xff, 0xff, 0x07]);
        let error = wit_text(&bytes).unwrap_err().to_string();
        assert!(error.contains("not a component"), "{error}");
    }

    #[test]
    fn functions_of_the_world_cannot_be_imported() {
        let lonely = component("package demo:lonely; world lonely { export ping: func(); }");
        let error = wit_text(&lonely).unwrap_err().to_string();
        assert!(error.contains("exports no interface that has a name"), "{error}");
    }
}
