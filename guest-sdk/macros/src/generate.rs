//! `generate!`: WIT first.

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
    let uses_contract = texts(&choices)?.iter().any(|text| text.contains("micro:function/"));
    let mut added = TokenStream::new();
    if !has(&choices, "runtime_path") {
        let runtime = format!("{sdk}::wit_bindgen::rt").replace(' ', "");
        added.extend(quote!(runtime_path: #runtime,));
    }
    if uses_contract {
        let paths = paths(&choices)?.into_iter().map(|path| path.display().to_string());
        choices.retain(|choice| choice.key != "path");
        added.extend(quote!(path: [#CONTRACT, #(#paths),*],));
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
    Ok(quote!(#sdk::wit_bindgen::generate!({ #(#choices)* #added });))
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

/// All WIT that the author has written.
fn texts(choices: &[Choice]) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for path in paths(choices)? {
        collect(&crate_folder().join(path), &mut texts);
    }
    if let Some(inline) = choices.iter().find(|choice| choice.key == "inline") {
        texts.push(syn::parse2::<LitStr>(inline.value.clone())?.value());
    }
    Ok(texts)
}

/// What cannot be read is told by the macro that we hand over to.
fn collect(path: &Path, texts: &mut Vec<String>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name() != "deps").for_each(|entry| collect(&entry.path(), texts));
    } else if path.extension().is_some_and(|end| end == "wit") {
        texts.extend(std::fs::read_to_string(path));
    }
}

fn crate_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default()
}
