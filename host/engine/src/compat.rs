//! Whether what a deployment exports is what another one imports, and in what they differ.

use crate::inspect::Inspection;
use crate::schema::{Endpoint, Enum, Need, Record, Type, Variant};

/// The differences between an import and what `given` exports under the same interface, a line each; none if it fits.
pub fn differences(need: &Need, given: &Inspection) -> Vec<String> {
    let interface = unversioned(&need.interface);
    let exported: Vec<&Endpoint> = given
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.interface.as_deref().is_some_and(|id| unversioned(id) == interface))
        .collect();
    if exported.is_empty() {
        return vec![format!("{interface} is not exported")];
    }
    let mut found = Vec::new();
    for wanted in &need.functions {
        match exported.iter().find(|endpoint| endpoint.function == wanted.function) {
            None => found.push(format!("{}: the function is not exported", wanted.function)),
            Some(endpoint) => compare_function(wanted, endpoint, &mut found),
        }
    }
    found
}

/// Whether a component exports an interface, whatever its types.
pub fn exports(given: &Inspection, interface: &str) -> bool {
    let wanted = unversioned(interface);
    given.endpoints.iter().any(|endpoint| endpoint.interface.as_deref().is_some_and(|id| unversioned(id) == wanted))
}

/// `demo:users/directory` of `demo:users/directory@0.1.0`: types are compared one by one, so the number adds nothing.
pub fn unversioned(interface: &str) -> &str {
    interface.split_once('@').map_or(interface, |(name, _)| name)
}

fn compare_function(wanted: &Endpoint, given: &Endpoint, found: &mut Vec<String>) {
    let function = &wanted.function;
    if given.stream.is_some() {
        found.push(format!("{function}: it streams"));
        return;
    }
    let (wanted_fields, given_fields) = (parameters(wanted), parameters(given));
    if wanted_fields.len() != given_fields.len() {
        let (ours, theirs) = (wanted_fields.len(), given_fields.len());
        found.push(format!("{function}: the import has {ours} parameters, the export {theirs}"));
    } else {
        for (wanted, given) in wanted_fields.iter().zip(&given_fields) {
            if wanted.0 != given.0 {
                found.push(format!("{function}: the import's parameter {} is called {}", wanted.0, given.0));
            }
            compare(&format!("{function}: parameter {}", wanted.0), &wanted.1, &given.1, found);
        }
    }
    match (wanted.result_type(), given.result_type()) {
        (None, None) => {}
        (Some(wanted), Some(given)) => compare(&format!("{function}: result"), &wanted, &given, found),
        (wanted, given) => {
            let label = |ty: Option<Type>| ty.map_or("nothing".into(), |ty| ty.label());
            found.push(format!("{function}: the import returns {}, the export {}", label(wanted), label(given)));
        }
    }
}

/// The parameters of the function itself, with their names as far as they are known.
fn parameters(endpoint: &Endpoint) -> Vec<(String, Type)> {
    let message = &endpoint.request.message;
    match endpoint.request.is_one_record {
        // The one parameter's own name does not matter to anybody.
        true => vec![("request".into(), Type::Record(message.clone()))],
        false => message.fields.iter().map(|field| (field.name.wit.to_string(), field.ty.clone())).collect(),
    }
}

fn compare(place: &str, wanted: &Type, given: &Type, found: &mut Vec<String>) {
    match (wanted, given) {
        (Type::List(wanted), Type::List(given)) => compare(&format!("{place}, item"), wanted, given, found),
        (Type::Option(wanted), Type::Option(given)) => compare(place, wanted, given, found),
        (Type::FixedList(wanted, length), Type::FixedList(given, other)) if length == other => {
            compare(&format!("{place}, item"), wanted, given, found);
        }
        (Type::Map(key, value), Type::Map(given_key, given_value)) => {
            compare(&format!("{place}, key"), key, given_key, found);
            compare(&format!("{place}, value"), value, given_value, found);
        }
        (Type::Tuple(wanted), Type::Tuple(given)) if wanted.len() == given.len() => {
            for (at, (wanted, given)) in wanted.iter().zip(given.iter()).enumerate() {
                compare(&format!("{place}, item {at}"), wanted, given, found);
            }
        }
        (Type::Record(wanted), Type::Record(given)) => compare_records(place, wanted, given, found),
        (Type::Variant(wanted), Type::Variant(given)) => compare_variants(place, wanted, given, found),
        (Type::Enum(wanted), Type::Enum(given)) | (Type::Flags(wanted), Type::Flags(given)) => {
            compare_names(place, wanted, given, found);
        }
        (Type::Result(ok, err), Type::Result(given_ok, given_err)) => {
            for (side, wanted, given) in [("ok", ok, given_ok), ("err", err, given_err)] {
                match (wanted, given) {
                    (None, None) => {}
                    (Some(wanted), Some(given)) => compare(&format!("{place}, {side}"), wanted, given, found),
                    (wanted, given) => {
                        let label = |ty: &Option<_>| {
                            ty.as_ref().map_or("nothing".into(), |ty: &std::sync::Arc<Type>| ty.label())
                        };
                        found.push(format!(
                            "{place}, {side}: the import has {}, the export {}",
                            label(wanted),
                            label(given)
                        ));
                    }
                }
            }
        }
        (wanted, given) if wanted == given => {}
        (wanted, given) => {
            found.push(format!("{place}: the import has {}, the export {}", wanted.label(), given.label()));
        }
    }
}

fn compare_records(place: &str, wanted: &Record, given: &Record, found: &mut Vec<String>) {
    for field in &wanted.fields {
        match given.fields.iter().find(|other| other.name.wit == field.name.wit) {
            None => found.push(format!("{place}: the export's {} has no field {}", given.name, field.name.wit)),
            Some(other) => compare(&format!("{place}, field {}", field.name.wit), &field.ty, &other.ty, found),
        }
    }
    for field in &given.fields {
        if !wanted.fields.iter().any(|other| other.name.wit == field.name.wit) {
            let (name, ty) = (&field.name.wit, field.ty.label());
            found.push(format!("{place}: the export's {} has a field {name} ({ty}) more", given.name));
        }
    }
    let order = |record: &Record| record.fields.iter().map(|field| field.name.wit.clone()).collect::<Vec<_>>();
    let (ours, theirs) = (order(wanted), order(given));
    if ours != theirs && ours.len() == theirs.len() && ours.iter().all(|name| theirs.contains(name)) {
        found.push(format!("{place}: the fields of {} are in another order", wanted.name));
    }
}

fn compare_variants(place: &str, wanted: &Variant, given: &Variant, found: &mut Vec<String>) {
    let names = |variant: &Variant| variant.cases.iter().map(|case| case.name.wit.to_string()).collect::<Vec<_>>();
    let (ours, theirs) = (names(wanted), names(given));
    if ours != theirs {
        let (ours, theirs) = (ours.join(", "), theirs.join(", "));
        found.push(format!("{place}: the import's {} has the cases {ours}, the export's {theirs}", wanted.name));
        return;
    }
    for (wanted, given) in wanted.cases.iter().zip(&given.cases) {
        let place = format!("{place}, case {}", wanted.name.wit);
        match (&wanted.ty, &given.ty) {
            (None, None) => {}
            (Some(wanted), Some(given)) => compare(&place, wanted, given, found),
            (wanted, given) => {
                let label = |ty: &Option<Type>| ty.as_ref().map_or("nothing".into(), Type::label);
                found.push(format!("{place}: the import has {}, the export {}", label(wanted), label(given)));
            }
        }
    }
}

fn compare_names(place: &str, wanted: &Enum, given: &Enum, found: &mut Vec<String>) {
    let names = |names: &Enum| names.cases.iter().map(|name| name.wit.to_string()).collect::<Vec<_>>();
    let (ours, theirs) = (names(wanted), names(given));
    if ours != theirs {
        let (ours, theirs) = (ours.join(", "), theirs.join(", "));
        found.push(format!("{place}: the import's {} is {ours}, the export's {theirs}", wanted.name));
    }
}
