//! `generate!`: WIT first.
//!
//! What `micro wit` prints holds the types of the contract that it uses, so that others can read it, too. Two such
//! files in `wit/deps`, or one beside the contract that the SDK has, define a package twice, which WIT does not allow. Where
//! dependencies speak of the contract, all texts are therefore put into one, with the contract of the SDK for theirs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, LitStr, Result, Token, bracketed};

use crate::{sdk, wit};

/// The contract's folder, where this crate was built from.
const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");

/// `key: value`, the value as it stands.
struct Choice {
    key: Ident,
    value: TokenStream,
}

impl Parse for Choice {
    fn parse(input: ParseStream) -> Result<Choice> {
        let key = input.call(syn::ext::IdentExt::parse_any)?;
        let mut value = TokenStream::new();
        // Some options are a word by themselves.
        if input.parse::<Option<Token![:]>>()?.is_some() {
            while !input.is_empty() && !input.peek(Token![,]) {
                value.extend([input.parse::<TokenTree>()?]);
            }
        }
        Ok(Choice { key, value })
    }
}

pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let sdk = sdk::path()?;
    let mut choices = choices(input)?;
    let has = |choices: &[Choice], name: &str| choices.iter().any(|choice| choice.key == name);
    let texts = texts(&choices)?;
    let speaks = |text: &&Text| text.content.contains("micro:function");
    let mut tracked = TokenStream::new();
    let mut added = TokenStream::new();
    // What a world imports becomes Rust unless the author says what stands for it.
    if !has(&choices, "generate_all") {
        added.extend(quote!(generate_all,));
    }
    if !has(&choices, "runtime_path") {
        let runtime = format!("{sdk}::wit_bindgen::rt").replace(' ', "");
        added.extend(quote!(runtime_path: #runtime,));
    }
    if texts.iter().any(|text| speaks(&text)) {
        if texts.iter().filter(|text| text.is_dependency).any(|text| speaks(&text)) {
            choices.retain(|choice| choice.key != "path" && choice.key != "inline");
            let inline = merged(&texts);
            added.extend(quote!(path: [#CONTRACT], inline: #inline,));
            // The macro that we hand over to does not see these files, and the compiler has to know of them.
            let files = texts.iter().filter_map(|text| text.file.as_ref()).map(|file| file.display().to_string());
            tracked.extend(quote!(#(const _: &[u8] = ::core::include_bytes!(#files);)*));
        } else {
            let paths = paths(&choices)?.into_iter().map(|path| path.display().to_string());
            choices.retain(|choice| choice.key != "path");
            added.extend(quote!(path: [#CONTRACT, #(#paths),*],));
        }
        let types = wit::TYPES;
        let is_mapped = |choice: &&mut Choice| choice.key == "with";
        match choices.iter_mut().find(is_mapped) {
            // What the author says about the types goes before what we say.
            Some(with) if with.value.to_string().contains(types) => {}
            Some(with) => with.value = extended(&with.value, &quote!(#types: #sdk::types,)),
            None => added.extend(quote!(with: { #types: #sdk::types },)),
        }
    }
    let choices = choices.iter().map(|Choice { key, value }| match value.is_empty() {
        true => quote!(#key,),
        false => quote_spanned!(key.span()=> #key: #value,),
    });
    Ok(quote!(#sdk::wit_bindgen::generate!({ #(#choices)* #added }); #tracked))
}

/// The options, in whichever of its three forms the macro is called.
fn choices(input: TokenStream) -> Result<Vec<Choice>> {
    if input.is_empty() {
        return Ok(Vec::new());
    }
    if let Ok(world) = syn::parse2::<LitStr>(input.clone()) {
        return Ok(vec![Choice { key: Ident::new("world", world.span()), value: quote!(#world) }]);
    }
    let group: Group = syn::parse2(input)?;
    let list = syn::parse::Parser::parse2(Punctuated::<Choice, Token![,]>::parse_terminated, group.stream())?;
    Ok(list.into_iter().collect())
}

/// The content of a group in braces with more at its front.
fn extended(group: &TokenStream, more: &TokenStream) -> TokenStream {
    let inner: TokenStream = group
        .clone()
        .into_iter()
        .map(|tree| match tree {
            TokenTree::Group(group) => group.stream(),
            other => other.into(),
        })
        .collect();
    quote!({ #more #inner })
}

/// Where the author's WIT lies: what `path` says, or the folder `wit`, if it is there.
fn paths(choices: &[Choice]) -> Result<Vec<PathBuf>> {
    let Some(choice) = choices.iter().find(|choice| choice.key == "path") else {
        let is_there = crate_folder().join("wit").is_dir();
        return Ok(if is_there { vec![PathBuf::from("wit")] } else { Vec::new() });
    };
    let parse = |input: ParseStream| -> Result<Vec<PathBuf>> {
        if input.peek(LitStr) {
            return Ok(vec![input.parse::<LitStr>()?.value().into()]);
        }
        let list;
        bracketed!(list in input);
        let paths = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?;
        Ok(paths.iter().map(|path| path.value().into()).collect())
    };
    syn::parse::Parser::parse2(parse, choice.value.clone())
}

/// WIT of the author or of a dependency.
struct Text {
    content: String,
    /// None for what stands in the macro's input.
    file: Option<PathBuf>,
    is_dependency: bool,
}

/// All WIT that there is: dependencies and the packages of earlier paths first, that of the world last.
fn texts(choices: &[Choice]) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for path in paths(choices)? {
        let folder = crate_folder().join(path);
        collect(&folder.join("deps"), true, &mut texts);
        collect(&folder, false, &mut texts);
    }
    if let Some(inline) = choices.iter().find(|choice| choice.key == "inline") {
        let content = syn::parse2::<LitStr>(inline.value.clone())?.value();
        texts.push(Text { content, file: None, is_dependency: false });
    }
    Ok(texts)
}

/// What cannot be read is told by the macro that we hand over to.
fn collect(path: &Path, is_dependency: bool, texts: &mut Vec<Text>) {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        entries.sort();
        entries.retain(|entry| entry.file_name().is_none_or(|name| name != "deps"));
        entries.iter().for_each(|entry| collect(entry, is_dependency, texts));
    } else if path.extension().is_some_and(|end| end == "wit")
        && let Ok(content) = std::fs::read_to_string(path)
    {
        texts.push(Text { content, file: Some(path.to_owned()), is_dependency });
    }
}

/// One text with all packages but the contract: that of the last text, and the others inside it.
fn merged(texts: &[Text]) -> String {
    let mut packages: Vec<(String, String)> = Vec::new();
    let mut seen = HashSet::new();
    let mut own = String::new();
    for text in texts {
        let parts = split(&text.content);
        // A file may leave out the name of its package if another one of its folder has it.
        let folder = |text: &Text| text.file.as_deref().and_then(Path::parent).map(Path::to_owned);
        let name = parts.name.or_else(|| {
            texts.iter().filter(|other| folder(other) == folder(text)).find_map(|other| split(&other.content).name)
        });
        let name = name.unwrap_or_default();
        if !text.is_dependency {
            own.clone_from(&name);
        }
        for (name, body) in parts.nested.into_iter().chain([(name, parts.body)]) {
            // Two dependencies may each hold a third one.
            if name.starts_with("micro:function@") || !seen.insert((name.clone(), body.clone())) {
                continue;
            }
            match packages.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.push_str(&body),
                None => packages.push((name, body)),
            }
        }
    }
    let (main, others): (Vec<_>, Vec<_>) = packages.into_iter().partition(|(name, _)| *name == own);
    let main: String = main.iter().map(|(_, body)| importing_types(body)).collect();
    let others: String = others.iter().map(|(name, body)| format!("package {name} {{\n{body}}}\n")).collect();
    format!("package {own};\n{main}{others}")
}

/// The packages of a file.
#[derive(Default)]
struct Parts {
    /// The file's own.
    name: Option<String>,
    /// What is in it.
    body: String,
    /// Others that the file holds, by name.
    nested: Vec<(String, String)>,
}

/// Takes a file apart. A package inside it ends with a brace at the begin of a line.
fn split(text: &str) -> Parts {
    let mut parts = Parts::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let package = line.strip_prefix("package ").map(str::trim);
        if let Some(name) = package.and_then(|package| package.strip_suffix('{')) {
            let body = lines.by_ref().take_while(|line| !line.starts_with('}'));
            parts.nested.push((name.trim().to_owned(), body.flat_map(|line| [line, "\n"]).collect()));
        } else if let Some((name, rest)) = package.and_then(|package| package.split_once(';')) {
            parts.name = Some(name.trim().to_owned());
            // Comments above it are about the package.
            parts.body = format!("{rest}\n");
        } else {
            parts.body.extend([line, "\n"]);
        }
    }
    parts
}

/// The worlds of a package, each with an import of the contract's types: a mapping for what a world does not have is
/// refused. It asks nothing of the host.
fn importing_types(body: &str) -> String {
    let mut out = String::new();
    for line in body.lines() {
        match line.split_once('{') {
            Some((world, rest)) if world.trim_start().starts_with("world ") && !body.contains(&import()) => {
                out.extend([world, "{ ", &import(), ";", rest]);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn import() -> String {
    format!("import {}", wit::TYPES)
}

fn crate_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_that_each_hold_the_contract_become_one_text_without_it() {
        let contract = "package micro:function@0.1.0 {\n  interface types {\n  }\n}\n";
        let dependency = |name: &str| Text {
            content: format!("package demo:{name};\n\ninterface {name} {{\n}}\n\n{contract}"),
            file: None,
            is_dependency: true,
        };
        let own = |content: &str| Text { content: content.to_owned(), file: None, is_dependency: false };
        let texts = [
            dependency("a"),
            dependency("b"),
            own("interface more {}\n"),
            own("/// Mine.\npackage my:own;\nworld w { import demo:a/a; }\n"),
        ];
        let text = merged(&texts);
        assert!(text.starts_with("package my:own;\n"), "{text}");
        assert!(text.contains("world w { import micro:function/types@0.1.0; import demo:a/a; }"), "{text}");
        for part in ["package demo:a {\n", "package demo:b {\n", "interface a {\n}\n", "interface more {}"] {
            assert_eq!(text.matches(part).count(), 1, "{part} in {text}");
        }
        assert!(!text.contains("package micro:function") && !text.contains("Mine"), "{text}");
    }
}
