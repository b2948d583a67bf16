//! The Rust beside the author's own: bindings, conversions, exports, and the sections for `micro build`.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};

use crate::api::{Api, Case, Defined, Field, Function, Lifecycle, Moment, Payload, Reply, Shape, StreamType};
use crate::names::Name;
use crate::types::Type;
use crate::wit;

/// A module to stand beside the author's functions. `super` in it is where they are.
pub(crate) fn glue(api: &Api, sdk: &TokenStream) -> TokenStream {
    let writer = Writer { api, sdk, exports: exports(api) };
    let name = format_ident!("__micro_{}", api.interface.rust_value());
    let bindings = writer.bindings();
    let types = api.types.iter().map(|defined| writer.conversions(defined));
    let streams = api.functions.iter().map(|function| writer.stream(function));
    let endpoints = writer.endpoints();
    let lifecycle = writer.lifecycle();
    let sections = sections(api);
    quote! {
        #[doc(hidden)]
        #[allow(warnings, clippy::all, clippy::pedantic, clippy::restriction)]
        mod #name {
            #bindings
            #(#types)*
            #(#streams)*
            struct Component;
            #endpoints
            #lifecycle
            bindings::export!(Component with_types_in bindings);
            #sections
        }
    }
}

/// The module in which `wit_bindgen` puts what belongs to the interface.
fn exports(api: &Api) -> TokenStream {
    let (package, interface) = (api.package.rust_value(), api.interface.rust_value());
    quote!(bindings::exports::micro_guest::#package::#interface)
}

struct Writer<'a> {
    api: &'a Api,
    sdk: &'a TokenStream,
    exports: TokenStream,
}

impl Writer<'_> {
    fn bindings(&self) -> TokenStream {
        let sdk = self.sdk;
        let inline = wit::package(self.api) + &wit::contract(self.api);
        let runtime = format!("{sdk}::wit_bindgen::rt").replace(' ', "");
        let with = (!self.api.shared().is_empty()).then(|| {
            let types = wit::TYPES;
            quote!(with: { #types: #sdk::types },)
        });
        quote! {
            mod bindings {
                #sdk::wit_bindgen::generate!({ inline: #inline, path: [], runtime_path: #runtime, #with });
            }
        }
    }

    /// The type in the bindings that stands for one of the author's.
    fn wire(&self, ty: &Type) -> TokenStream {
        let (sdk, rust) = (self.sdk, ty.rust(self.sdk));
        if ty.is_same() { rust } else { quote!(<#rust as #sdk::wire::Wire>::Wire) }
    }

    /// The value that came from the host, as the author knows it.
    fn taken(&self, ty: &Type, value: impl ToTokens) -> TokenStream {
        let (sdk, rust) = (self.sdk, ty.rust(self.sdk));
        if ty.is_same() { quote!(#value) } else { quote!(<#rust as #sdk::wire::Wire>::from_wire(#value)) }
    }

    /// The value that goes to the host.
    fn given(&self, ty: &Type, value: impl ToTokens) -> TokenStream {
        let (sdk, rust) = (self.sdk, ty.rust(self.sdk));
        if ty.is_same() { quote!(#value) } else { quote!(<#rust as #sdk::wire::Wire>::into_wire(#value)) }
    }

    /// How a struct or an enum of the author crosses.
    fn conversions(&self, defined: &Defined) -> TokenStream {
        let (sdk, exports, ident, bound) = (self.sdk, &self.exports, &defined.ident, defined.name.rust_type());
        let (wire, from, into) = match &defined.shape {
            // Another name for a type that crosses by itself.
            Shape::Alias(_) => return TokenStream::new(),
            Shape::Record(fields) => {
                let from = self.fields_from(fields, |name| quote!(wire.#name));
                let into = self.fields_into(fields, |ident| quote!(self.#ident));
                (quote!(#exports::#bound), quote!(super::#ident { #from }), quote!(#exports::#bound { #into }))
            }
            Shape::Newtype(types) => self.newtype(ident, types),
            Shape::Enum(cases) | Shape::Variant(cases) => {
                let from = cases.iter().map(|case| self.case_from(defined, case));
                let into = cases.iter().map(|case| self.case_into(defined, case));
                (quote!(#exports::#bound), quote!(match wire { #(#from)* }), quote!(match self { #(#into)* }))
            }
        };
        quote! {
            impl #sdk::wire::Wire for super::#ident {
                type Wire = #wire;
                fn from_wire(wire: Self::Wire) -> Self { #from }
                fn into_wire(self) -> Self::Wire { #into }
            }
        }
    }

    fn newtype(&self, ident: &Ident, types: &[Type]) -> (TokenStream, TokenStream, TokenStream) {
        if let [only] = types {
            let from = self.taken(only, quote!(wire));
            return (self.wire(only), quote!(super::#ident(#from)), self.given(only, quote!(self.0)));
        }
        let wires = types.iter().map(|ty| self.wire(ty));
        let index = |(index, ty)| (Literal::usize_unsuffixed(index), ty);
        let from = types.iter().enumerate().map(index).map(|(index, ty)| self.taken(ty, quote!(wire.#index)));
        let into = types.iter().enumerate().map(index).map(|(index, ty)| self.given(ty, quote!(self.#index)));
        (quote!((#(#wires,)*)), quote!(super::#ident(#(#from),*)), quote!((#(#into,)*)))
    }

    fn fields_from(&self, fields: &[Field], place: impl Fn(&Ident) -> TokenStream) -> TokenStream {
        let fields = fields.iter().map(|field| {
            let (ident, value) = (&field.ident, self.taken(&field.ty, place(&field.name.rust_value())));
            quote!(#ident: #value)
        });
        quote!(#(#fields),*)
    }

    fn fields_into(&self, fields: &[Field], place: impl Fn(&Ident) -> TokenStream) -> TokenStream {
        let fields = fields.iter().map(|field| {
            let (bound, value) = (field.name.rust_value(), self.given(&field.ty, place(&field.ident)));
            quote!(#bound: #value)
        });
        quote!(#(#fields),*)
    }

    fn case_from(&self, defined: &Defined, case: &Case) -> TokenStream {
        let (ident, own, exports) = (&defined.ident, &case.ident, &self.exports);
        let (bound, case_bound) = (defined.name.rust_type(), case.name.rust_type());
        match &case.payload {
            Payload::Nothing => quote!(#exports::#bound::#case_bound => super::#ident::#own,),
            Payload::Unnamed(types) => {
                let names: Vec<Ident> = (0..types.len()).map(|index| format_ident!("item_{index}")).collect();
                let values = types.iter().zip(&names).map(|(ty, name)| self.taken(ty, name));
                let pattern = if let [only] = names.as_slice() { quote!(#only) } else { quote!((#(#names),*)) };
                quote!(#exports::#bound::#case_bound(#pattern) => super::#ident::#own(#(#values),*),)
            }
            Payload::Named(_, fields) => {
                let fields = self.fields_from(fields, |name| quote!(record.#name));
                quote!(#exports::#bound::#case_bound(record) => super::#ident::#own { #fields },)
            }
        }
    }

    fn case_into(&self, defined: &Defined, case: &Case) -> TokenStream {
        let (ident, own, exports) = (&defined.ident, &case.ident, &self.exports);
        let (bound, case_bound) = (defined.name.rust_type(), case.name.rust_type());
        match &case.payload {
            Payload::Nothing => quote!(super::#ident::#own => #exports::#bound::#case_bound,),
            Payload::Unnamed(types) => {
                let names: Vec<Ident> = (0..types.len()).map(|index| format_ident!("item_{index}")).collect();
                let values: Vec<_> = types.iter().zip(&names).map(|(ty, name)| self.given(ty, name)).collect();
                let value = if let [only] = values.as_slice() { quote!(#only) } else { quote!((#(#values),*)) };
                quote!(super::#ident::#own(#(#names),*) => #exports::#bound::#case_bound(#value),)
            }
            Payload::Named(record, fields) => {
                let idents = fields.iter().map(|field| &field.ident);
                let record = record.rust_type();
                let fields = self.fields_into(fields, |ident| quote!(#ident));
                quote! {
                    super::#ident::#own { #(#idents),* } =>
                        #exports::#bound::#case_bound(#exports::#record { #fields }),
                }
            }
        }
    }

    /// The resource behind a stream: the SDK's value, with its messages converted.
    fn stream(&self, function: &Function) -> TokenStream {
        let (Reply::Stream { stream, .. }, Some(name)) = (&function.reply, function.resource()) else {
            return TokenStream::new();
        };
        let (sdk, exports, name) = (self.sdk, &self.exports, name.rust_type());
        let guest = format_ident!("Guest{name}");
        let error = quote!(#sdk::types::Error);
        let next = |item: &Type| {
            let (wire, value) = (self.wire(item), self.given(item, quote!(item)));
            quote! {
                fn next(&self) -> ::core::result::Result<::core::option::Option<#wire>, #error> {
                    self.0.borrow_mut().next().transpose().map(|item| item.map(|item| #value))
                }
            }
        };
        let send = |item: &Type| {
            let (wire, value) = (self.wire(item), self.taken(item, quote!(item)));
            quote! {
                fn send(&self, item: #wire) -> ::core::result::Result<(), #error> {
                    self.0.borrow_mut().send(#value)
                }
            }
        };
        let ty = stream_type(stream, sdk);
        let methods = match stream {
            StreamType::Server(item) => next(item),
            StreamType::Client(item, reply) => {
                let (send, wire, value) = (send(item), self.wire(reply), self.given(reply, quote!(reply)));
                quote! {
                    #send
                    fn finish(&self) -> ::core::result::Result<#wire, #error> {
                        self.0.borrow_mut().finish().map(|reply| #value)
                    }
                }
            }
            StreamType::Both(item, reply) => {
                let (send, next) = (send(item), next(reply));
                quote! {
                    #send
                    #next
                    fn finish(&self) -> ::core::result::Result<(), #error> {
                        self.0.borrow_mut().finish()
                    }
                }
            }
        };
        quote! {
            struct #name(::core::cell::RefCell<#ty>);
            impl #exports::#guest for #name { #methods }
        }
    }

    fn endpoints(&self) -> TokenStream {
        if self.api.functions.is_empty() {
            return TokenStream::new();
        }
        let exports = &self.exports;
        let resources = self.api.functions.iter().filter_map(|function| {
            let name = function.resource()?.rust_type();
            Some(quote!(type #name = #name;))
        });
        let functions = self.api.functions.iter().map(|function| self.endpoint(function));
        quote! {
            impl #exports::Guest for Component {
                #(#resources)*
                #(#functions)*
            }
        }
    }

    fn endpoint(&self, function: &Function) -> TokenStream {
        let (sdk, ident, name) = (self.sdk, &function.ident, function.name.rust_value());
        let parameters = function.parameters.iter().enumerate().map(|(index, (_, ty))| {
            let (name, wire) = (format_ident!("parameter_{index}"), self.wire(ty));
            quote!(#name: #wire)
        });
        let arguments = function.parameters.iter().enumerate().map(|(index, (_, ty))| {
            let name = format_ident!("parameter_{index}");
            self.taken(ty, name)
        });
        let asyncness = function.is_async.then(|| quote!(async));
        let wait = function.is_async.then(|| quote!(.await));
        let call = quote!(super::#ident(#(#arguments),*) #wait);
        let (reply, body) = match &function.reply {
            Reply::Nothing => (None, quote!(#call;)),
            Reply::Value(ty) => {
                let (wire, rust, value) = (self.wire(ty), ty.rust(sdk), self.given(ty, quote!(reply)));
                // What the attribute takes the type for and what it is can differ; the place to say so is the type.
                let reply = quote_spanned!(function.span=> let reply: #rust = #call;);
                (Some(quote!(-> #wire)), quote!(#reply #value))
            }
            Reply::Stream { stream, error } => self.stream_reply(function, stream, error.as_ref(), &call),
        };
        quote!(#asyncness fn #name(#(#parameters),*) #reply { #body })
    }

    fn stream_reply(
        &self,
        function: &Function,
        stream: &StreamType,
        error: Option<&Type>,
        call: &TokenStream,
    ) -> (Option<TokenStream>, TokenStream) {
        let (sdk, exports) = (self.sdk, &self.exports);
        let name = function.resource().as_ref().map(Name::rust_type);
        let ty = stream_type(stream, sdk);
        let open = quote!(#exports::#name::new(#name(::core::cell::RefCell::new(stream))));
        let Some(error) = error else {
            let stream = quote_spanned!(function.span=> let stream: #ty = #call;);
            return (Some(quote!(-> #exports::#name)), quote!(#stream #open));
        };
        let (wire, rust, value) = (self.wire(error), error.rust(sdk), self.given(error, quote!(error)));
        let reply = quote_spanned!(function.span=> let reply: ::core::result::Result<#ty, #rust> = #call;);
        (
            Some(quote!(-> ::core::result::Result<#exports::#name, #wire>)),
            quote!(#reply reply.map(|stream| #open).map_err(|error| #value)),
        )
    }

    fn lifecycle(&self) -> TokenStream {
        if self.api.lifecycle.is_empty() {
            return TokenStream::new();
        }
        let functions = self.api.lifecycle.iter().map(|moment| self.moment(moment));
        quote!(impl bindings::exports::micro::function::lifecycle::Guest for Component { #(#functions)* })
    }

    fn moment(&self, Moment { what, ident, by_reference }: &Moment) -> TokenStream {
        let sdk = self.sdk;
        let name = format_ident!("{}", what.as_str());
        let outcome = quote!(#sdk::lifecycle::Outcome::outcome);
        let nothing = quote!(::core::result::Result<(), ::std::string::String>);
        match what {
            Lifecycle::Start | Lifecycle::Health => quote!(fn #name() -> #nothing { #outcome(super::#ident()) }),
            Lifecycle::Stop => quote!(fn #name() { #sdk::lifecycle::stopped(#outcome(super::#ident())) }),
            Lifecycle::Save => quote! {
                fn #name() -> ::core::result::Result<::std::vec::Vec<u8>, ::std::string::String> {
                    #outcome(super::#ident())
                }
            },
            Lifecycle::Restore => {
                let reference = by_reference.then(|| quote!(&));
                quote! {
                    fn #name(state: ::std::vec::Vec<u8>) -> #nothing { #outcome(super::#ident(#reference state)) }
                }
            }
        }
    }
}

fn stream_type(stream: &StreamType, sdk: &TokenStream) -> TokenStream {
    let (name, types) = match stream {
        StreamType::Server(item) => ("Stream", vec![item]),
        StreamType::Client(item, reply) => ("Upload", vec![item, reply]),
        StreamType::Both(item, reply) => ("Exchange", vec![item, reply]),
    };
    let name = format_ident!("{name}");
    let types = types.iter().map(|ty| ty.rust(sdk));
    quote!(#sdk::stream::#name<#(#types),*>)
}

/// What `micro build` reads from the finished module. A linker puts the sections of several modules end to end, so each
/// text ends in a zero, which neither WIT nor TOML can hold.
fn sections(api: &Api) -> TokenStream {
    let mut out = TokenStream::new();
    for (section, text) in [("micro.wit", wit::package(api)), ("micro.fragment", api.fragment.toml())] {
        if text.is_empty() {
            continue;
        }
        let bytes = [text.as_bytes(), b"\0"].concat();
        let length = bytes.len();
        let bytes = Literal::byte_string(&bytes);
        out.extend(quote! {
            #[cfg(target_arch = "wasm32")]
            const _: () = {
                #[unsafe(link_section = #section)]
                static SECTION: [u8; #length] = *#bytes;
            };
        });
    }
    out
}
