//! What a function's source says of itself, beside `micro.toml`.
//!
//! The attributes of the Rust SDK leave two custom sections in the core module: `micro.fragment`, a piece of manifest in
//! TOML, and `micro.wit`, the WIT with its doc comments. A crate may have several of each, which the linker puts end to
//! end; so each text ends in a zero byte.

use toml::{Table, Value};

/// The custom section with pieces of manifest.
const FRAGMENT: &str = "micro.fragment";
/// The custom section with WIT.
const WIT: &str = "micro.wit";

/// What was found in the core modules of a component.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Pieces of manifest.
    pub fragments: Vec<String>,
    /// WIT texts.
    pub wit: Vec<String>,
}

impl Said {
    /// Looks through a component or a core module. What is none holds nothing, and is somebody else's to refuse.
    pub(super) fn of(component: &[u8]) -> Said {
        let mut said = Said::default();
        said.look(component, micro_engine::module::is_module(component));
        said
    }

    fn look(&mut self, mut rest: &[u8], is_module: bool) {
        /// Magic number and version.
        const HEADER: usize = 8;
        const CUSTOM: u8 = 0;
        /// In a component, which differs from a module by what its section ids stand for.
        const CORE_MODULE: u8 = 1;
        const COMPONENT: u8 = 4;
        rest = rest.get(HEADER..).unwrap_or_default();
        while let Some((id, content, behind)) = section(rest) {
            match id {
                CUSTOM if is_module => self.read(content),
                CORE_MODULE if !is_module => self.look(content, true),
                COMPONENT if !is_module => self.look(content, false),
                _ => {}
            }
            rest = behind;
        }
    }

    fn read(&mut self, custom: &[u8]) {
        let Some((name, content)) = split_prefixed(custom) else { return };
        let into = match std::str::from_utf8(name) {
            Ok(FRAGMENT) => &mut self.fragments,
            Ok(WIT) => &mut self.wit,
            _ => return,
        };
        let texts = content.split(|byte| *byte == 0).filter(|text| !text.is_empty());
        into.extend(texts.map(|text| String::from_utf8_lossy(text).into_owned()));
    }
}

/// The first section: its id, its content, and what comes behind it.
fn section(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (id, rest) = bytes.split_first()?;
    let (content, behind) = split_prefixed(rest)?;
    Some((*id, content, behind))
}

/// Splits behind what a length in LEB128 says.
fn split_prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..)?.split_at_checked(usize::try_from(length).ok()?);
        }
    }
    None
}

/// The manifest together with what the source says. Where both say something, the manifest is right; of what may be said
/// several times, such as routes, both are kept.
pub(super) fn merge(manifest: &str, fragments: &[String]) -> Result<String, String> {
    if fragments.is_empty() {
        return Ok(manifest.to_owned());
    }
    let mut merged: Table = manifest.parse().map_err(|error: toml::de::Error| error.to_string())?;
    for fragment in fragments {
        let fragment: Table = fragment.parse().map_err(|error: toml::de::Error| format!("{FRAGMENT}: {error}"))?;
        add(&mut merged, fragment);
    }
    toml::to_string(&merged).map_err(|error| error.to_string())
}

fn add(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (None, value) => {
                into.insert(key, value);
            }
            (Some(Value::Table(known)), Value::Table(more)) => add(known, more),
            (Some(Value::Array(known)), Value::Array(more)) => {
                for item in more {
                    // Said at both places, it is still one.
                    if !known.contains(&item) {
                        known.push(item);
                    }
                }
            }
            (Some(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section of either kind, its length in two bytes.
    fn section_of(id: u8, content: &[u8]) -> Vec<u8> {
        let (low, high) = (content.len() % 128, content.len() / 128);
        assert!(high < 128);
        [&[id, u8::try_from(low).unwrap() | 0x80, u8::try_from(high).unwrap()], content].concat()
    }

    fn custom(name: &str, content: &[u8]) -> Vec<u8> {
        section_of(0, &[&[u8::try_from(name.len()).unwrap()], name.as_bytes(), content].concat())
    }

    #[test]
    fn texts_are_found_in_nested_modules() {
        let module = [
            b"\0asm\x01\0\0\0".to_vec(),
            custom("name", b"x"),
            custom("micro.fragment", b"kind = \"service\"\0a = 1\0"),
            custom("micro.wit", b"package a:b;\0"),
        ]
        .concat();
        let component =
            [b"\0asm\x0d\0\x01\0".to_vec(), custom("micro.fragment", b"outside = true\0"), section_of(1, &module)]
                .concat();
        let outer = [b"\0asm\x0d\0\x01\0".to_vec(), section_of(4, &component)].concat();
        let expected =
            Said { fragments: vec!["kind = \"service\"".into(), "a = 1".into()], wit: vec!["package a:b;".into()] };
        assert_eq!(Said::of(&component), expected);
        assert_eq!(Said::of(&outer), expected);
        for end in 0..outer.len() {
            // A file that is cut off holds what it holds.
            Said::of(&outer[..end]);
        }
    }

    #[test]
    fn the_manifest_goes_before_the_source_and_lists_are_joined() {
        let manifest = "name = \"a\"\nkind = \"function\"\n[limits]\nmemory = \"1MiB\"\n\
                        [[route]]\npath = \"/a\"\nendpoint = \"A.B\"\n";
        let fragments = [
            "description = \"x\"\nkind = \"service\"\n[limits]\nmemory = \"2MiB\"\ntimeout = \"1s\"\n".to_owned(),
            "description = \"y\"\n[[route]]\npath = \"/a\"\nendpoint = \"A.B\"\n\
             [[route]]\npath = \"/b\"\nendpoint = \"A.C\"\n"
                .to_owned(),
        ];
        let merged: Table = merge(manifest, &fragments).unwrap().parse().unwrap();
        let expected: Table = "name = \"a\"\nkind = \"function\"\ndescription = \"x\"\n\
            [limits]\nmemory = \"1MiB\"\ntimeout = \"1s\"\n\
            [[route]]\npath = \"/a\"\nendpoint = \"A.B\"\n[[route]]\npath = \"/b\"\nendpoint = \"A.C\"\n"
            .parse()
            .unwrap();
        assert_eq!(merged, expected);
        assert_eq!(merge("# as it is\nname = \"a\"", &[]).unwrap(), "# as it is\nname = \"a\"");
        assert!(merge("name = \"a\"", &["=".to_owned()]).unwrap_err().starts_with("micro.fragment: "));
    }
}
