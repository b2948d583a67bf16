//! Query strings and forms → values, typed by the schema.
//!
//! `?name=John&age=30&tags=a&tags=b&address.city=Rome` fills `{name, age, tags: […], address: {city}}`. Nested names are
//! written with dots or brackets (`address[city]`, `tags[]`), a repeated name fills a list, and a value that is JSON is
//! taken as such where the schema wants more than a scalar.

use crate::json;
use crate::name::hint;
use crate::schema::{Field, Record, Type};
use crate::value::Value;
use std::collections::{HashMap, HashSet};

/// A name with more steps than this is no path into a message.
const MAX_DEPTH: usize = 32;

/// Reads the fields of `message` from `query`, in declaration order. What a body has `given` already stands.
pub fn read_query(message: &Record, query: &str, given: Vec<Option<Value>>) -> Result<Vec<Value>, String> {
    let mut tree = Tree::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        tree.insert(&name, value.into_owned())?;
    }
    read_record(message, tree, "", given)
}

/// The pairs of a query, as a tree of names.
#[derive(Default)]
struct Tree {
    values: Vec<String>,
    children: Vec<(String, Tree)>,
    /// Where each child is while pairs are inserted: a form may hold millions of them.
    places: HashMap<String, usize>,
}

impl Tree {
    fn insert(&mut self, name: &str, value: String) -> Result<(), String> {
        let plain = name.replace("[]", "").replace('[', ".").replace(']', "");
        let mut node = self;
        for (depth, step) in plain.split('.').filter(|step| !step.is_empty()).enumerate() {
            if depth == MAX_DEPTH {
                return Err(format!("query parameter {name:.40}: nested deeper than {MAX_DEPTH} names"));
            }
            let index = match node.places.get(step) {
                Some(index) => *index,
                None => {
                    node.places.insert(step.to_string(), node.children.len());
                    node.children.push((step.to_string(), Tree::default()));
                    node.children.len() - 1
                }
            };
            node = &mut node.children[index].1;
        }
        node.values.push(value);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.children.is_empty()
    }

    /// The one value of a scalar. Of several the last one wins, as go-micro has it.
    fn last(self, place: &str, ty: &Type) -> Result<String, String> {
        match self.values.into_iter().next_back() {
            Some(value) if self.children.is_empty() => Ok(value),
            _ => Err(format!("query parameter {place}: expected {}", json::expected(ty))),
        }
    }
}

fn read_record(record: &Record, mut tree: Tree, place: &str, given: Vec<Option<Value>>) -> Result<Vec<Value>, String> {
    let mut given = given.into_iter();
    let mut values = Vec::with_capacity(record.fields.len());
    for field in &record.fields {
        let asked = take(&mut tree, field);
        let place = join(place, &field.name.json);
        values.push(match (given.next().flatten(), asked) {
            (Some(value), _) => value,
            (None, Some(asked)) => read(&field.ty, asked, &place)?,
            (None, None) if field.ty.is_optional() => Value::none(),
            (None, None) => {
                return Err(format!("missing query parameter {place}: expected {}", json::expected(&field.ty)));
            }
        });
    }
    match tree.children.into_iter().next() {
        None => Ok(values),
        Some((unknown, _)) => {
            let hint = hint(&unknown, record.fields.iter().map(|field| &*field.name.json));
            Err(format!("unknown query parameter {:?}: {hint}", join(place, &unknown)))
        }
    }
}

fn take(tree: &mut Tree, field: &Field) -> Option<Tree> {
    let index = tree.children.iter().position(|(name, _)| field.name.matches(name))?;
    Some(tree.children.swap_remove(index).1)
}

fn read(ty: &Type, tree: Tree, place: &str) -> Result<Value, String> {
    if let Some(value) = read_embedded_json(ty, &tree, place)? {
        return Ok(value);
    }
    match ty {
        Type::Option(some) if tree.is_empty() || (tree.values == [""] && !is_text(some)) => Ok(Value::none()),
        Type::Option(some) => read(some, tree, place).map(Value::some),
        Type::Record(record) => read_record(record, tree, place, Vec::new()).map(Value::Record),
        Type::List(item) => read_items(item, tree, place).map(Value::List),
        Type::FixedList(item, length) => {
            let items = read_items(item, tree, place)?;
            check_length(items.len(), *length, place)?;
            Ok(Value::List(items))
        }
        Type::Tuple(types) => {
            check_length(tree.values.len(), types.len(), place)?;
            let items = types.iter().zip(tree.values).map(|(ty, text)| read(ty, leaf(text), place));
            items.collect::<Result<_, _>>().map(Value::Record)
        }
        Type::Map(key_ty, value_ty) => {
            let mut entries = Vec::with_capacity(tree.children.len());
            let mut known = HashSet::new();
            for (key, child) in tree.children {
                let place = join(place, &key);
                let key = read(key_ty, leaf(key), &place)?;
                // By what JSON shows of it: `1` and `1e0` are the same number.
                if !known.insert(json::key_text(key_ty, &key)) {
                    return Err(format!("query parameter {place}: the key is there twice"));
                }
                entries.push((key, read(value_ty, child, &place)?));
            }
            Ok(Value::Map(entries))
        }
        Type::Flags(_) => {
            let names = serde_json::Value::from(tree.values);
            read_json(ty, &names.to_string(), place)
        }
        Type::Variant(_) | Type::Result(..) if !tree.children.is_empty() => read_case(ty, tree, place),
        Type::String => tree.last(place, ty).map(Value::String),
        Type::Bool => match tree.last(place, ty)?.as_str() {
            // `?verbose` alone means yes.
            "true" | "1" | "" => Ok(Value::Bool(true)),
            "false" | "0" => Ok(Value::Bool(false)),
            other => Err(format!("query parameter {place}: expected boolean, got {other:?}")),
        },
        Type::Char | Type::Bytes | Type::Enum(_) | Type::Variant(_) | Type::Result(..) => {
            let text = serde_json::Value::from(tree.last(place, ty)?);
            read_json(ty, &text.to_string(), place)
        }
        _ => {
            let text = tree.last(place, ty)?;
            let is_word = matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity");
            let text = if is_word { format!("{text:?}") } else { text };
            json::read_value(ty, text.trim().as_bytes())
                .map_err(|_| format!("query parameter {place}: expected {}, got {text:?}", json::expected(ty)))
        }
    }
}

/// A value like `{"city":"Rome"}` for something that is not a scalar.
fn read_embedded_json(ty: &Type, tree: &Tree, place: &str) -> Result<Option<Value>, String> {
    let is_composite = matches!(
        ty,
        Type::Record(_)
            | Type::List(_)
            | Type::FixedList(..)
            | Type::Tuple(_)
            | Type::Map(..)
            | Type::Variant(_)
            | Type::Result(..)
            | Type::Flags(_)
    );
    match tree.values.as_slice() {
        [text] if is_composite && tree.children.is_empty() && text.trim_start().starts_with(['{', '[']) => {
            read_json(ty, text, place).map(Some)
        }
        _ => Ok(None),
    }
}

fn read_items(item: &Type, tree: Tree, place: &str) -> Result<Vec<Value>, String> {
    let plain = tree.values.into_iter().map(leaf);
    // `orders.0.id=1&orders.1.id=2`: the numbers only keep items apart and in order.
    let mut numbered = Vec::with_capacity(tree.children.len());
    for (step, child) in tree.children {
        let number: u32 = step.parse().map_err(|_| {
            format!("query parameter {}: expected a number for the place in a list", join(place, &step))
        })?;
        numbered.push((number, child));
    }
    numbered.sort_by_key(|(number, _)| *number);
    let items = plain.chain(numbered.into_iter().map(|(_, child)| child));
    items.map(|tree| read(item, tree, place)).collect()
}

fn read_case(ty: &Type, mut tree: Tree, place: &str) -> Result<Value, String> {
    let (Some((name, child)), true) = (tree.children.pop(), tree.children.is_empty()) else {
        return Err(format!("query parameter {place}: expected one case"));
    };
    let found = match ty {
        Type::Variant(variant) => {
            let index = variant.cases.iter().position(|case| case.name.matches(&name));
            index.map(|index| (index as u32, variant.cases[index].ty.as_ref()))
        }
        Type::Result(ok, _) if name == "ok" => Some((0, ok.as_deref())),
        Type::Result(_, err) if name == "err" => Some((1, err.as_deref())),
        _ => None,
    };
    let place = join(place, &name);
    match found {
        Some((index, Some(ty))) => Ok(Value::Variant(index, Some(Box::new(read(ty, child, &place)?)))),
        Some((index, None)) => Ok(Value::Variant(index, None)),
        None => Err(format!("query parameter {place}: expected {}", json::expected(ty))),
    }
}

fn read_json(ty: &Type, text: &str, place: &str) -> Result<Value, String> {
    json::read_value(ty, text.as_bytes()).map_err(|error| format!("query parameter {place}: {error}"))
}

fn check_length(given: usize, wanted: usize, place: &str) -> Result<(), String> {
    if given == wanted {
        return Ok(());
    }
    Err(format!("query parameter {place}: expected {wanted} values, got {given}"))
}

fn leaf(text: String) -> Tree {
    Tree { values: vec![text], ..Tree::default() }
}

fn is_text(ty: &Type) -> bool {
    matches!(ty, Type::String | Type::Bool)
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_string() } else { format!("{place}.{name}") }
}

#[cfg(test)]
mod tests;
