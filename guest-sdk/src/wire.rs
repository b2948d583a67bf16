//! How values of an author's types cross between host and function.
//!
//! `#[micro::function]` and `#[micro::service]` implement [`Wire`] for the structs and enums that endpoints name; here
//! it is implemented for what the standard library has.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A type with a counterpart in the bindings, into which it turns and from which it comes.
pub trait Wire: Sized {
    /// The counterpart.
    type Wire;
    /// Takes what came from the host.
    fn from_wire(wire: Self::Wire) -> Self;
    /// Makes what goes to the host.
    fn into_wire(self) -> Self::Wire;
}

/// Types that are their own counterparts.
macro_rules! same {
    ($($ty:ty),*) => {$(
        impl Wire for $ty {
            type Wire = $ty;
            fn from_wire(wire: $ty) -> $ty {
                wire
            }
            fn into_wire(self) -> $ty {
                self
            }
        }
    )*};
}

same!((), bool, char, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, String);
same!(crate::types::Error, crate::types::HttpResponse);

impl<T: Wire> Wire for Vec<T> {
    type Wire = Vec<T::Wire>;
    fn from_wire(wire: Self::Wire) -> Self {
        wire.into_iter().map(T::from_wire).collect()
    }
    fn into_wire(self) -> Self::Wire {
        self.into_iter().map(T::into_wire).collect()
    }
}

impl<T: Wire, const N: usize> Wire for [T; N] {
    type Wire = [T::Wire; N];
    fn from_wire(wire: Self::Wire) -> Self {
        wire.map(T::from_wire)
    }
    fn into_wire(self) -> Self::Wire {
        self.map(T::into_wire)
    }
}

impl<T: Wire> Wire for Option<T> {
    type Wire = Option<T::Wire>;
    fn from_wire(wire: Self::Wire) -> Self {
        wire.map(T::from_wire)
    }
    fn into_wire(self) -> Self::Wire {
        self.map(T::into_wire)
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    type Wire = Result<T::Wire, E::Wire>;
    fn from_wire(wire: Self::Wire) -> Self {
        wire.map(T::from_wire).map_err(E::from_wire)
    }
    fn into_wire(self) -> Self::Wire {
        self.map(T::into_wire).map_err(E::into_wire)
    }
}

impl<T: Wire> Wire for Box<T> {
    type Wire = T::Wire;
    fn from_wire(wire: Self::Wire) -> Self {
        Box::new(T::from_wire(wire))
    }
    fn into_wire(self) -> Self::Wire {
        T::into_wire(*self)
    }
}

impl<K: Ord, V: Wire> Wire for BTreeMap<K, V> {
    type Wire = BTreeMap<K, V::Wire>;
    fn from_wire(wire: Self::Wire) -> Self {
        wire.into_iter().map(|(key, value)| (key, V::from_wire(value))).collect()
    }
    fn into_wire(self) -> Self::Wire {
        self.into_iter().map(|(key, value)| (key, value.into_wire())).collect()
    }
}

impl<K: Ord + Hash, V: Wire> Wire for HashMap<K, V> {
    type Wire = BTreeMap<K, V::Wire>;
    fn from_wire(wire: Self::Wire) -> Self {
        wire.into_iter().map(|(key, value)| (key, V::from_wire(value))).collect()
    }
    fn into_wire(self) -> Self::Wire {
        self.into_iter().map(|(key, value)| (key, value.into_wire())).collect()
    }
}

/// Tuples of up to twelve: more have no `Debug` either.
macro_rules! tuples {
    ($(($($ty:ident $index:tt),+))*) => {$(
        impl<$($ty: Wire),+> Wire for ($($ty,)+) {
            type Wire = ($($ty::Wire,)+);
            fn from_wire(wire: Self::Wire) -> Self {
                ($($ty::from_wire(wire.$index),)+)
            }
            fn into_wire(self) -> Self::Wire {
                ($(self.$index.into_wire(),)+)
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11)
}
