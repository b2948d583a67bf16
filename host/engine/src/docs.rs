//! The doc comments of a package's WIT, carried in its component.
//!
//! Toolchains drop doc comments on the way from WIT to a component, and the component format has no place for them. So
//! `micro build` reads them from the package's `wit` folder and puts them into the custom section `micro.docs`, as JSON:
//! item → text, where an item is written `demo:greeter/say#hello`, `demo:greeter/say#request.name` (a field of a type)
//! or `#hello` (of the world itself).

use crate::section;
use std::collections::BTreeMap;
use std::path::Path;
use wit_parser::{Docs as WitDocs, Resolve, TypeDef, TypeDefKind, UnresolvedPackageGroup, WorldId, WorldItem};

/// The custom section that holds the doc comments.
pub const SECTION: &str = "micro.docs";

/// Doc comments by item.
#[derive(Debug, Default, PartialEq)]
pub struct Docs(BTreeMap<String, String>);

impl Docs {
    /// Reads the doc comments in a folder of WIT. What the WIT imports from elsewhere need not be there.
    pub fn of_folder(wit: &Path) -> Result<Docs, String> {
        let group = UnresolvedPackageGroup::parse_dir(wit).map_err(|error| format!("{error:#}"))?;
        let mut docs = Docs::default();
        for package in std::iter::once(&group.main).chain(&group.nested) {
            for (_, interface) in &package.interfaces {
                let Some(name) = &interface.name else { continue };
                let prefix = format!("{}:{}/{name}", package.name.namespace, package.name.name);
                for (name, function) in &interface.functions {
                    docs.keep(format!("{prefix}#{name}"), &function.docs);
                }
                for (name, id) in &interface.types {
                    docs.keep_type(format!("{prefix}#{name}"), &package.types[*id]);
                }
            }
            let exports = package.worlds.iter().flat_map(|(_, world)| world.exports.values());
            for item in exports {
                if let WorldItem::Function(function) = item {
                    docs.keep(format!("#{}", function.name), &function.docs);
                }
            }
        }
        Ok(docs)
    }

    /// Reads the section's content. One that is not ours holds no docs: they are never worth refusing a component.
    pub fn read(section: &[u8]) -> Docs {
        Docs(serde_json::from_slice(section).unwrap_or_default())
    }

    /// The component with these docs in it.
    pub fn embed(&self, component: &[u8]) -> Result<Vec<u8>, String> {
        if self.0.is_empty() {
            return Ok(component.to_vec());
        }
        let content = serde_json::to_vec(&self.0).map_err(|error| error.to_string())?;
        section::put(component, SECTION, &content)
    }

    /// Gives the items of a decoded component their doc comments back.
    pub(crate) fn apply(&self, resolve: &mut Resolve, world: WorldId) {
        let mut functions = Vec::new();
        let mut types = Vec::new();
        for (id, interface) in &resolve.interfaces {
            let Some((package, name)) = interface.package.zip(interface.name.as_ref()) else { continue };
            let package = &resolve.packages[package].name;
            let prefix = format!("{}:{}/{name}", package.namespace, package.name);
            functions.extend(interface.functions.keys().map(|name| (id, name.clone(), format!("{prefix}#{name}"))));
            types.extend(interface.types.iter().map(|(name, id)| (*id, format!("{prefix}#{name}"))));
        }
        for (interface, name, item) in functions {
            if let Some(function) = resolve.interfaces[interface].functions.get_mut(&name) {
                self.give(&item, &mut function.docs);
            }
        }
        for (id, item) in types {
            self.give_type(&item, &mut resolve.types[id]);
        }
        for export in resolve.worlds[world].exports.values_mut() {
            if let WorldItem::Function(function) = export {
                self.give(&format!("#{}", function.name), &mut function.docs);
            }
        }
    }

    fn keep(&mut self, item: String, docs: &WitDocs) {
        if let Some(text) = &docs.contents {
            self.0.insert(item, text.trim().to_string());
        }
    }

    fn keep_type(&mut self, item: String, def: &TypeDef) {
        match &def.kind {
            TypeDefKind::Record(record) => {
                record.fields.iter().for_each(|field| self.keep(format!("{item}.{}", field.name), &field.docs));
            }
            TypeDefKind::Variant(variant) => {
                variant.cases.iter().for_each(|case| self.keep(format!("{item}.{}", case.name), &case.docs));
            }
            _ => {}
        }
        self.keep(item, &def.docs);
    }

    fn give(&self, item: &str, docs: &mut WitDocs) {
        if let Some(text) = self.0.get(item) {
            docs.contents = Some(text.clone());
        }
    }

    fn give_type(&self, item: &str, def: &mut TypeDef) {
        match &mut def.kind {
            TypeDefKind::Record(record) => {
                record
                    .fields
                    .iter_mut()
                    .for_each(|field| self.give(&format!("{item}.{}", field.name), &mut field.docs));
            }
            TypeDefKind::Variant(variant) => {
                variant.cases.iter_mut().for_each(|case| self.give(&format!("{item}.{}", case.name), &mut case.docs));
            }
            _ => {}
        }
        self.give(item, &mut def.docs);
    }
}
