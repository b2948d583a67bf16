//! `serve!`: exports endpoints that are described in a `.proto` file.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Error, Result, Token, Type};

use crate::{sdk, wit};

/// Takes the types that implement `proto::Endpoints`.
pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let services = syn::parse::Parser::parse2(Punctuated::<Type, Token![,]>::parse_terminated, input.clone())?;
    if services.is_empty() {
        return Err(Error::new_spanned(input, "name what to serve: serve!(SayEndpoints<Say>)"));
    }
    let services = services.iter();
    let sdk = sdk::path()?;
    let inline = wit::handler();
    let runtime = format!("{sdk}::wit_bindgen::rt").replace(' ', "");
    let types = wit::TYPES;
    Ok(quote! {
        #[doc(hidden)]
        #[allow(warnings, clippy::all, clippy::pedantic, clippy::restriction)]
        mod __micro_serve {
            mod bindings {
                #sdk::wit_bindgen::generate!({
                    inline: #inline, path: [], runtime_path: #runtime, with: { #types: #sdk::types },
                });
            }
            use super::*;
            use bindings::exports::micro::function::handler as contract;

            struct Component;

            impl contract::Guest for Component {
                fn handle(
                    context: #sdk::types::Context,
                    request: contract::Body,
                ) -> ::core::result::Result<contract::Body, #sdk::types::Error> {
                    let services = [#(<#services as #sdk::proto::Endpoints>::answer as fn(_, &[u8]) -> _),*];
                    let content = #sdk::proto::handle(&context, &request.content_type, &request.content, &services)?;
                    let content_type = #sdk::proto::PROTOBUF.to_owned();
                    ::core::result::Result::Ok(contract::Body { content_type, content })
                }
            }

            bindings::export!(Component with_types_in bindings);

            #[cfg(target_arch = "wasm32")]
            const _: () = {
                const DESCRIPTORS: &[u8] = ::core::include_bytes!(
                    ::core::concat!(::core::env!("OUT_DIR"), "/micro.descriptors")
                );
                #[unsafe(link_section = "micro.descriptors")]
                static SECTION: [u8; DESCRIPTORS.len()] = *::core::include_bytes!(
                    ::core::concat!(::core::env!("OUT_DIR"), "/micro.descriptors")
                );
            };
        }
    })
}
