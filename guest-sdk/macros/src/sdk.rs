//! The path by which the author's crate knows `micro-sdk`.

use proc_macro_crate::FoundCrate;
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

/// `::micro` for a crate that has `micro = { package = "micro-sdk" }`, `::micro_sdk` for one that has `micro-sdk`.
pub(crate) fn path() -> syn::Result<TokenStream> {
    match proc_macro_crate::crate_name("micro-sdk") {
        // The crate knows itself by its own name, for its documentation's sake.
        Ok(FoundCrate::Itself) => Ok(quote!(::micro_sdk)),
        Ok(FoundCrate::Name(name)) => {
            let name = Ident::new(&name, Span::call_site());
            Ok(quote!(::#name))
        }
        Err(error) => Err(syn::Error::new(
            Span::call_site(),
            format!("cannot tell by which name this crate depends on micro-sdk ({error}): write `crate = its_name`"),
        )),
    }
}
