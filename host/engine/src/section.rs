//! Custom sections at the top level of a component: where our own words about it stand.

use std::ops::Range;
use wasmparser::Payload::{ComponentSection, CustomSection, End, ModuleSection, Version};

/// The content of the first top-level custom section called `name`.
pub fn get<'c>(component: &'c [u8], name: &str) -> Result<Option<&'c [u8]>, String> {
    let mut found = None;
    visit(component, |_, custom| {
        if let Some(custom) = custom
            && custom.name() == name
            && found.is_none()
        {
            found = Some(custom.data());
        }
    })?;
    Ok(found)
}

/// The content of the first custom section called `name`, also of the modules inside: compilers leave ours there.
pub fn find<'c>(component: &'c [u8], name: &str) -> Result<Option<&'c [u8]>, String> {
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| format!("not a component: {error}"))?;
        if let CustomSection(custom) = payload
            && custom.name() == name
        {
            return Ok(Some(custom.data()));
        }
    }
    Ok(None)
}

/// Says whether all sections are as long as they say.
pub(crate) fn check(component: &[u8]) -> Result<(), String> {
    let mut payloads = wasmparser::Parser::new(0).parse_all(component);
    payloads.try_for_each(|payload| payload.map(drop).map_err(|error| format!("not a component: {error}")))
}

/// The component with a custom section called `name`, in place of those of that name that it already holds.
pub fn put(component: &[u8], name: &str, content: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(component.len() + content.len() + 32);
    let mut is_whole = true;
    visit(component, |range, custom| {
        if custom.is_none_or(|custom| custom.name() != name) {
            // The length of a module or component inside is known before its bytes are looked at.
            match component.get(range) {
                Some(section) => out.extend_from_slice(section),
                None => is_whole = false,
            }
        }
    })?;
    if !is_whole {
        return Err("not a component: it ends before its last section does".into());
    }
    let section = wasm_encoder::CustomSection { name: name.into(), data: content.into() };
    wasm_encoder::ComponentSection::append_to_component(&section, &mut out);
    Ok(out)
}

/// Visits the top-level sections in order: the range of each with its header, and what it holds if it is a custom one.
fn visit<'c>(
    component: &'c [u8],
    mut visitor: impl FnMut(Range<usize>, Option<wasmparser::CustomSectionReader<'c>>),
) -> Result<(), String> {
    let mut depth = 0_usize;
    let mut begin = 0;
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| format!("not a component: {error}"))?;
        // Sections lie end to end, so the end of one is where the header of the next begins.
        let end = match &payload {
            End(_) => {
                depth = depth.saturating_sub(1);
                continue;
            }
            ModuleSection { unchecked_range, .. } | ComponentSection { unchecked_range, .. } => {
                depth += 1;
                if depth > 1 {
                    continue;
                }
                unchecked_range.end
            }
            _ if depth > 0 => continue,
            Version { range, .. } => range.end,
            other => match other.as_section() {
                Some((_, range)) => range.end,
                None => continue,
            },
        } as usize;
        let custom = match payload {
            CustomSection(custom) => Some(custom),
            _ => None,
        };
        visitor(begin..end, custom);
        begin = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_ends_inside_of_a_module_is_an_error_and_no_panic() {
        let mut whole = wasm_encoder::Component::new();
        let mut module = wasm_encoder::Module::new();
        let name = "filling".into();
        module.section(&wasm_encoder::CustomSection { name, data: [0; 100].as_slice().into() });
        whole.section(&wasm_encoder::ModuleSection(&module));
        let whole = whole.finish();
        assert!(put(&whole, "a", b"b").is_ok());
        for length in 0..whole.len() {
            let cut = put(&whole[..length], "a", b"b");
            // Behind the header nothing is missing yet.
            assert!(cut.is_err() || length == 8, "{length}");
        }
    }
}
